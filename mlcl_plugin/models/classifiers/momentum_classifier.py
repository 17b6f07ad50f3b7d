# SPDX-License-Identifier: Apache-2.0
"""A classifier that remembers the embeddings of its own moving average."""

import torch
from mmengine.model import ExponentialMovingAverage
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ..heads.contrastive_head import ContrastiveHead
from ..utils.training_only import TrainingOnlyParts


@MODELS.register_module()
class MomentumClassifier(TrainingOnlyParts, ImageClassifier):
    """Image classifier with a momentum encoder for the contrastive memory.

    A memory holds embeddings that older weights made. If an average of the weights
    makes them, they age more slowly (`MoCo <https://arxiv.org/abs/1911.05722>`_). In
    training each batch passes through the average of backbone, neck and projector
    too, without gradient, and those embeddings are remembered instead of the
    trained ones. Prediction uses the trained weights only.

    Deviation from MoCo: anchors are also compared with the trained embeddings of
    their own batch, as in MulCon; the memory comes in addition.

    Args:
        backbone (dict): Config of the backbone.
        neck (dict): Config of the neck.
        head (dict): Config of a :class:`LabelWiseClsHead` (or, for whole images, of an
            :class:`ImageLevelClsHead`) whose ``loss_contrastive`` has a ``memory``.
        momentum (float): Weight of a step's weights in the average. MoCo's 0.999 is
            0.001 here, as in MMEngine. Defaults to 0.001.
        **kwargs: Other arguments of :class:`mmpretrain.models.ImageClassifier`.

    Raises:
        ValueError: If the head has no memory, or ``momentum`` is not between 0 and 1.
    """

    training_only: tuple[str, ...] = ('momentum_encoder',)

    backbone: nn.Module
    neck: nn.Module
    head: ContrastiveHead

    def __init__(
        self, backbone: dict, neck: dict, head: dict, momentum: float = 0.001, **kwargs
    ):
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        if not 0 < momentum < 1:
            raise ValueError(f'momentum must lie between 0 and 1, got {momentum}.')
        if not (isinstance(self.head, ContrastiveHead) and self.head.takes_keys):
            raise ValueError(
                'MomentumClassifier makes embeddings for a memory, but the head has '
                "none. Set head.loss_contrastive.memory=dict(type='EmbeddingMemory', "
                "size=...), or use type='ImageClassifier'."
            )
        # The average needs no memory of its own.
        self.momentum_encoder = ExponentialMovingAverage(
            self._parts(self.head.encoder()), momentum, update_buffers=True
        )

    def _parts(self, head: ContrastiveHead) -> nn.ModuleDict:
        """The parts that make embeddings, with this head."""
        return nn.ModuleDict(dict(backbone=self.backbone, neck=self.neck, head=head))

    @torch.no_grad()
    def _average_embeddings(self, inputs: torch.Tensor) -> torch.Tensor:
        """Update the average, and return the last output of its neck."""
        # The first update copies the weights, also those of a checkpoint.
        self.momentum_encoder.update_parameters(self._parts(self.head))
        encoder = self.momentum_encoder.module
        return encoder['neck'](encoder['backbone'](inputs))[-1]

    def loss(
        self, inputs: torch.Tensor, data_samples: list[DataSample]
    ) -> dict[str, torch.Tensor]:
        """Compute the head's losses, with keys of the average for the memory.

        Args:
            inputs (Tensor): ``(B, C, H, W)``.
            data_samples (list[DataSample]): Their B annotations.

        Returns:
            dict[str, Tensor]: See :meth:`LabelWiseClsHead.loss`.
        """
        averages = self._average_embeddings(inputs)
        keys = self.momentum_encoder.module['head'].projections(averages)
        feats = self.extract_feat(inputs)
        return self.head.loss(feats, data_samples, keys=keys)
