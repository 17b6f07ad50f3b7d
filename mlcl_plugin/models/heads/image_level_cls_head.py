# SPDX-License-Identifier: Apache-2.0
"""Classify every label from one vector of the image, with optional contrast."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..losses.base import ImageContrast
from ..utils import to_vectors
from .contrastive_head import ContrastiveHead


@MODELS.register_module()
class ImageLevelClsHead(ContrastiveHead):
    """Linear classifier on pooled features, the baseline of label-wise heads.

    With a contrastive loss, the pooled feature of every image passes through a
    projector into that loss, together with all its targets; every view in the batch
    takes part as an image.

    Unknown labels (-1) take part in no classification loss: they get no gradient and
    do not count in the mean. :func:`image_level_contrastive_loss` says what they mean
    for contrast.

    The classifier has the parameter names of MMPretrain's
    ``MultiLabelLinearClsHead``, so that its checkpoints load. For the sources see the
    contrastive losses. Deviation: all of them use the projector of MulCon; that of
    MulSupCon has batch normalisation and dropout.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Channels C of the pooled features.
        loss (dict | nn.Module): The classification loss, or its config, see
            :class:`PartialLabelHead`. Defaults to binary cross-entropy.
        loss_reduction (str): How the entries of ``loss`` are reduced: ``'mean'``,
            ``'batch'`` or ``'sum'``, see :class:`PartialLabelHead`.
            Defaults to ``'mean'``.
        loss_contrastive (dict | nn.Module, optional): The contrastive loss, or its
            config: :class:`ImageLevelContrastiveLoss`. None trains with the
            classification loss only and has no projector. Defaults to None.
        projector (dict, optional): Arguments of the projector: ``hidden_channels``
            (None: ``in_channels``) and ``out_channels``. None contrasts the features
            themselves. Defaults to ``dict(out_channels=128)``.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` has priority over it; without both, ``thr`` is 0.5.
        dropout (float): Share of the numbers of a pooled feature that the classifier
            does not see in training, see :class:`ContrastiveHead`. Contrast sees all.
            Defaults to 0.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            N(0, 0.01) with zero bias for all linear layers, as MMPretrain.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    accepts = ImageContrast

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict | nn.Module = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
        loss_contrastive: dict | nn.Module | None = None,
        projector: dict | None = dict(out_channels=128),  # noqa: B006
        thr: float | None = None,
        topk: int | None = None,
        dropout: float = 0.0,
        init_cfg: dict | list | tuple | None = (
            dict(type='Normal', layer='Linear', std=0.01, bias=0.0),
        ),
    ):
        super().__init__(
            num_classes=num_classes,
            loss=loss,
            loss_reduction=loss_reduction,
            thr=thr,
            topk=topk,
            dropout=dropout,
            init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg,
        )
        if in_channels < 1:
            raise ValueError(
                f'in_channels must be positive, got in_channels={in_channels}.'
            )
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, num_classes)
        self.add_contrast(loss_contrastive, in_channels, projector)

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The pooled features ``(B, C)`` of the last stage.

        Raises:
            ValueError: If they have another shape.
        """
        return to_vectors(feats, self.in_channels)

    def classify(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, L)`` of pooled features ``(B, C)``."""
        return self.fc(embeddings)

    def project_images(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Project pooled features ``(B, C)`` to unit vectors ``(B, P)``."""
        return self.to_sphere(embeddings)
