# SPDX-License-Identifier: Apache-2.0
"""Pool a feature map to its largest activations."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS


@MODELS.register_module()
class GlobalMaxPooling(BaseModule):
    """The largest value of every channel, over all places.

    It has the interface of MMPretrain's ``GlobalAveragePooling``. Where several places
    have the largest value, its gradient is shared equally among them.

    Source: the usual baseline of multi-label recognition, e.g. in `ML-GCN
    <https://arxiv.org/abs/1904.03582>`_: a small object is not averaged away.

    Args:
        dim (int): Number of dimensions of the places, 1, 2 or 3. Defaults to 2.

    Raises:
        ValueError: If ``dim`` is another number.
    """

    def __init__(self, dim: int = 2):
        super().__init__()
        if dim not in (1, 2, 3):
            raise ValueError(f'dim must be 1, 2 or 3, got {dim!r}.')
        self.dim = dim

    def forward(
        self, feats: torch.Tensor | tuple[torch.Tensor, ...]
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Pool feature maps.

        Args:
            feats (Tensor | tuple[Tensor, ...]): ``(B, C, H, W)``, of as many
                dimensions of places as ``dim`` says, or several of them.

        Returns:
            Tensor | tuple[Tensor, ...]: ``(B, C)``, or one for each of several.

        Raises:
            ValueError: If a feature map has another number of dimensions.
        """
        if isinstance(feats, torch.Tensor):
            return self._pool(feats)
        return tuple(self._pool(x) for x in feats)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != self.dim + 2:
            raise ValueError(
                f'Expected a feature map with {self.dim + 2} dimensions, batch and '
                f'channels first (dim={self.dim}), got {tuple(x.shape)}. Let the '
                'backbone return its feature map without pooling, or set dim.'
            )
        return x.amax(dim=tuple(range(2, x.ndim)))

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return f'dim={self.dim}'
