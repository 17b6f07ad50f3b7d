# SPDX-License-Identifier: Apache-2.0
"""A model as a plain function of tensors, which exporters can follow."""

import torch
from mmpretrain.models.classifiers import BaseClassifier
from torch import Tensor, nn

from .attention import attention_neck, record_inputs


class ScoreModule(nn.Module):
    """From images to scores, without data samples.

    Neighbours of a :class:`NeighbourClassifier` are part of it.

    Args:
        model (BaseClassifier): A multi-label classifier.
        attention (bool): Whether to return the attention of labels too.
            Defaults to False.

    Raises:
        ValueError: If the model has no attention to return.
    """

    def __init__(self, model: BaseClassifier, attention: bool = False):
        super().__init__()
        self.model = model
        self.neck = attention_neck(model) if attention else None
        self.eval()

    @property
    def output_names(self) -> list[str]:
        """list[str]: What :meth:`forward` returns."""
        return ['scores'] if self.neck is None else ['scores', 'attention']

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the scores of images.

        Args:
            images (Tensor): ``(B, C, H, W)``, as the data preprocessor gives them.

        Returns:
            tuple[Tensor, ...]: The scores ``(B, L)`` from 0 to 1 and, on request, the
            attention ``(B, L, h, w)`` or ``(B, L, N)``, the mean over the heads.
        """
        if self.neck is None:
            return (self._scores(images),)
        with record_inputs(self.neck) as features:
            scores = self._scores(images)
        maps = self.neck(features[-1], return_attention=True)[1]
        return scores, maps.float().mean(dim=1)

    def _scores(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.model(images, mode='tensor').float())
