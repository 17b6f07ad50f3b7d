# SPDX-License-Identifier: Apache-2.0
"""Classify every label from one vector of the image, with contrast on request."""

from collections.abc import Callable, Sequence

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ..utils import ContrastiveProjector, to_vectors
from .partial_label_head import PartialLabelHead

KeyMaker = Callable[[torch.Tensor, None], torch.Tensor]


@MODELS.register_module()
class ImageLevelClsHead(PartialLabelHead):
    """Linear classifier on pooled features; what label-wise heads are compared with.

    With a contrastive loss, the pooled feature of every image passes through a
    projector into that loss, together with all its targets; every view in the batch
    takes part as an image.

    Unknown labels (-1) take part in no classification loss: they get no gradient and
    do not count in the mean. What they mean for contrast is said in
    :func:`image_level_contrastive_loss`.

    The classifier has the parameter names of MMPretrain's
    ``MultiLabelLinearClsHead``, whose checkpoints load. Sources: the contrastive
    losses', see there. Deviation: one projector for all of them, that of MulCon;
    MulSupCon's has batch normalisation and dropout.

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
        projector (dict): Arguments of the projector: ``hidden_channels`` (None:
            ``in_channels``) and ``out_channels``. Defaults to
            ``dict(out_channels=128)``.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` wins over it; without both, ``thr`` is 0.5.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            N(0, 0.01) with zero bias for all linear layers, as MMPretrain.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict | nn.Module = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
        loss_contrastive: dict | nn.Module | None = None,
        projector: dict = dict(out_channels=128),  # noqa: B006
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | list | None = (
            dict(type='Normal', layer='Linear', std=0.01, bias=0.0),
        ),
    ):
        super().__init__(
            num_classes=num_classes,
            loss=loss,
            loss_reduction=loss_reduction,
            thr=thr,
            topk=topk,
            init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg,
        )
        if in_channels < 1:
            raise ValueError(
                f'in_channels must be positive, got in_channels={in_channels}.'
            )
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, num_classes)
        self.projector = None
        self.contrastive_module = None
        if loss_contrastive is not None:
            if not isinstance(loss_contrastive, nn.Module):
                loss_contrastive = MODELS.build(loss_contrastive)
            self.contrastive_module = loss_contrastive
            self.projector = ContrastiveProjector(in_channels, **projector)

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The pooled features ``(B, C)`` of the last stage.

        Raises:
            ValueError: If they have another shape.
        """
        return to_vectors(feats, self.in_channels)

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, L)`` of pooled features ``(B, C)``."""
        return self.fc(self.pre_logits(feats))

    def loss(
        self,
        feats: Sequence[torch.Tensor],
        data_samples: list[DataSample],
        make_keys: KeyMaker | None = None,
        **kwargs,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch.

        Args:
            feats (Sequence[Tensor]): The neck's output, last item ``(B, C)``.
            data_samples (list[DataSample]): B samples with ``gt_score`` (1
                present, 0 absent, -1 unknown) or ``gt_label`` (indices).
            make_keys (Callable, optional): Gives, for the ``(B,)`` images (and None,
                since they have no single label), ``(B, P)`` projections of a momentum
                encoder, which serve the contrastive loss as keys. Defaults to None.
            **kwargs: Passed on to the classification loss.

        Returns:
            dict[str, Tensor]: ``loss_cls`` and, with contrast,
            ``loss_contrastive``, both already weighted.

        Raises:
            ValueError: If a target is malformed, see
                :func:`mlcl_plugin.models.utils.collect_targets`.
        """
        features = self.pre_logits(feats)
        logits = self.fc(features)
        targets = self.collect_targets(data_samples, logits)
        losses = dict(loss_cls=self.classification_loss(logits, targets, **kwargs))
        if self.contrastive_module is not None:
            images = torch.arange(len(features), device=features.device)
            keys = None if make_keys is None else make_keys(images, None)
            losses['loss_contrastive'] = self.contrastive_module(
                self.project(features, images), targets, keys=keys
            )
        return losses

    def project(
        self, features: torch.Tensor, images: torch.Tensor, labels: None = None
    ) -> torch.Tensor:
        """Project the features of chosen images.

        Args:
            features (Tensor): ``(B, C)``.
            images (Tensor): ``(N,)`` the chosen images.
            labels (None): Takes the place of the labels of label-wise heads.

        Returns:
            Tensor: ``(N, P)`` unit vectors.
        """
        return self.projector(features[images])

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Ignore what only contrast needs where this head has none.

        Projector and memory of the loss serve training with contrast only, so a model
        without contrast takes such a checkpoint as it is.
        """
        if self.projector is None:
            surplus = f'{prefix}projector.', f'{prefix}contrastive_module.'
            for key in [k for k in state_dict if k.startswith(surplus)]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
