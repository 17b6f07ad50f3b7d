# SPDX-License-Identifier: Apache-2.0
"""What necks with one embedding per label have in common."""

from abc import abstractmethod
from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor


class LabelNeck(BaseModule):
    """Base of necks that turn a feature map into embeddings of labels by attention.

    Inference and pictures of attention accept every neck of this class.
    """

    @abstractmethod
    def forward(
        self, feats: Tensor | Sequence[Tensor], return_attention: bool = False
    ) -> tuple[Tensor, ...]:
        """Compute the embeddings of L labels, or of G groups of labels.

        Args:
            feats (Tensor | Sequence[Tensor]): The backbone's output; of several stages
                the last one is used. A feature map ``(B, C, H, W)`` or tokens
                ``(B, N, C)``.
            return_attention (bool): Also return the attention map. Defaults to False.

        Returns:
            tuple[Tensor, ...]: The embeddings ``(B, L, D)`` and, with
            ``return_attention``, the attention ``(B, heads, L, H, W)`` over the places
            of the feature map, or ``(B, heads, L, N)`` over tokens without places. It
            sums to 1.
        """
