# SPDX-License-Identifier: Apache-2.0
"""Classify every label from its own embedding, with contrast on request."""

from collections.abc import Sequence

import torch
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ..utils import ContrastiveProjector, LabelWiseLinear, collect_targets


@MODELS.register_module()
class LabelWiseClsHead(MultiLabelClsHead):
    r"""Head on label-wise embeddings: one linear unit per label.

    Logits are :math:`s_{bl} = w_l \cdot g_{bl} + b_l`. With a contrastive loss,
    the embeddings of the labels that are present, and only these, pass through
    a shared projector into that loss; every view in the batch takes part.

    Unknown labels (-1) take part in no loss: they get no gradient, do not count
    in the mean, are neither anchors nor in any denominator.

    Source: `MulCon <https://arxiv.org/abs/2107.11626>`_. Deviation: in a run of
    several processes each contrasts its own batch, where the method contrasts the
    batch of all GPUs.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Width D of a label's embedding. Defaults to 1024.
        loss (dict): Config of the classification loss: any loss of MMPretrain
            that is a function of logit and target entry by entry
            (``CrossEntropyLoss`` with ``use_sigmoid=True``, ``AsymmetricLoss``,
            ``FocalLoss``). Defaults to binary cross-entropy.
        loss_reduction (str): How the entries of ``loss`` are reduced. ``'mean'``
            averages over all known entries (MulCon), ``'batch'`` sums over
            labels and averages over images (MMPretrain's own heads), ``'sum'``
            sums (the authors of ASL). Loss weights and learning rates do not
            carry over from one to another. Defaults to ``'mean'``.
        loss_contrastive (dict, optional): Config of the contrastive loss. None
            trains with the classification loss only and has no projector.
            Defaults to None.
        projector (dict): Arguments of the projector: ``hidden_channels`` (None:
            ``in_channels``) and ``out_channels``. Defaults to MulCon's
            ``dict(out_channels=128)``.
        min_contrast_size (int): If fewer label embeddings are present in the
            batch, the embeddings of absent labels with the largest logits fill
            up the denominators of the contrastive loss to this number (hardest
            negatives). They are no anchors. 0 turns it off. Defaults to 0.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` wins over it; without both, ``thr`` is 0.5.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            N(0, 0.02) with zero bias for all linear layers, as MulCon.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1024,
        loss: dict = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
        loss_contrastive: dict | None = None,
        projector: dict = dict(out_channels=128),  # noqa: B006
        min_contrast_size: int = 0,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | list | None = (
            dict(
                type='Normal', layer=['Linear', 'LabelWiseLinear'], std=0.02, bias=0.0
            ),
        ),
    ):
        super().__init__(
            loss=loss,
            thr=thr,
            topk=topk,
            init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg,
        )
        if num_classes < 1 or in_channels < 1:
            raise ValueError(
                'num_classes and in_channels must be positive, got '
                f'num_classes={num_classes} and in_channels={in_channels}.'
            )
        if not getattr(self.loss_module, 'use_sigmoid', True):
            raise ValueError(
                f'{type(self.loss_module).__name__} has use_sigmoid=False and scores '
                'the labels of an image against one another, so that unknown ones '
                'cannot be left out. Set use_sigmoid=True.'
            )
        if loss_reduction not in ('mean', 'batch', 'sum'):
            raise ValueError(
                "loss_reduction must be 'mean', 'batch' or 'sum', got "
                f'{loss_reduction!r}.'
            )
        if topk is not None and not 1 <= topk <= num_classes:
            raise ValueError(
                f'topk must be from 1 to num_classes={num_classes}, got {topk}.'
            )
        if min_contrast_size < 0:
            raise ValueError(
                f'min_contrast_size must not be negative, got {min_contrast_size}.'
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.loss_reduction = loss_reduction
        self.min_contrast_size = min_contrast_size
        self.classifier = LabelWiseLinear(num_classes, in_channels)
        self.projector = None
        self.contrastive_module = None
        if loss_contrastive is not None:
            if not isinstance(loss_contrastive, nn.Module):
                loss_contrastive = MODELS.build(loss_contrastive)
            self.contrastive_module = loss_contrastive
            self.projector = ContrastiveProjector(in_channels, **projector)

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The label-wise embeddings ``(B, L, D)`` of the last stage.

        Raises:
            ValueError: If they have another shape.
        """
        embeddings = feats[-1]
        if tuple(embeddings.shape[1:]) != (self.num_classes, self.in_channels):
            raise ValueError(
                'The head expects label-wise embeddings (B, num_classes='
                f'{self.num_classes}, in_channels={self.in_channels}), got '
                f'{tuple(embeddings.shape)}. Set num_classes and embed_dims of the '
                'neck to num_classes and in_channels of the head.'
            )
        return embeddings

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, L)`` of label-wise embeddings ``(B, L, D)``."""
        return self.classifier(self.pre_logits(feats))

    def loss(
        self, feats: Sequence[torch.Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch.

        Args:
            feats (Sequence[Tensor]): The neck's output, last item ``(B, L, D)``.
            data_samples (list[DataSample]): B samples with ``gt_score`` (1
                present, 0 absent, -1 unknown) or ``gt_label`` (indices).
            **kwargs: Passed on to the classification loss.

        Returns:
            dict[str, Tensor]: ``loss_cls`` and, with contrast,
            ``loss_contrastive``, both already weighted.

        Raises:
            ValueError: If a target is malformed, see
                :func:`mlcl_plugin.models.utils.collect_targets`.
        """
        embeddings = self.pre_logits(feats)
        logits = self.classifier(embeddings)
        targets = collect_targets(data_samples, self.num_classes, logits.device)
        if len(targets) != len(logits):
            raise ValueError(
                f'Got {len(logits)} images but {len(targets)} data samples. With '
                'several views an image, use MultiViewDataPreprocessor as the '
                "model's data_preprocessor."
            )
        losses = dict(loss_cls=self._classification_loss(logits, targets, **kwargs))
        if self.contrastive_module is not None:
            losses['loss_contrastive'] = self._contrastive_loss(
                embeddings, logits, targets
            )
        return losses

    def _classification_loss(
        self, logits: torch.Tensor, targets: torch.Tensor, **kwargs
    ) -> torch.Tensor:
        """Loss over the known entries of ``(B, L)`` logits and targets."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        known = targets >= 0
        losses = self.loss_module(
            logits,
            targets.clamp(min=0).to(logits.dtype),
            reduction_override='none',
            **kwargs,
        )
        if losses.shape != logits.shape:
            raise ValueError(
                f'{type(self.loss_module).__name__} gave a loss of shape '
                f'{tuple(losses.shape)}, expected one value for each of the '
                f'{tuple(logits.shape)} logits. Use a loss that scores every label '
                'by itself, e.g. CrossEntropyLoss with use_sigmoid=True.'
            )
        total = losses.where(known, 0).sum()
        if self.loss_reduction == 'mean':
            return total / known.sum().clamp(min=1)
        return total / len(logits) if self.loss_reduction == 'batch' else total

    def _contrastive_loss(
        self, embeddings: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Contrast the projections of the labels that are present."""
        images, labels = (targets == 1).nonzero(as_tuple=True)
        negatives = None
        num_negatives = self.min_contrast_size - len(labels)
        if num_negatives > 0:
            hardest = logits.detach().where(targets == 0, -torch.inf).flatten()
            num_negatives = min(num_negatives, int((targets == 0).sum()))
            hardest = hardest.topk(num_negatives).indices
            negatives = self.projector(embeddings.flatten(0, 1)[hardest])
        return self.contrastive_module(
            self.projector(embeddings[images, labels]), labels, negatives
        )

    def _get_loss(
        self, cls_score: torch.Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, torch.Tensor]:
        """Classification loss of given logits (MMPretrain's head contract)."""
        targets = collect_targets(data_samples, self.num_classes, cls_score.device)
        return dict(loss_cls=self._classification_loss(cls_score, targets, **kwargs))

    def _get_predictions(
        self, cls_score: torch.Tensor, data_samples: list[DataSample] | None
    ) -> list[DataSample]:
        """Scores in float32: a half-precision sigmoid makes ties.

        Raises:
            ValueError: If a target has another number of labels.
        """
        targets = [sample for sample in data_samples or () if 'gt_score' in sample]
        if targets:
            # MMPretrain's data sample would not say which image it is.
            collect_targets(targets, self.num_classes, cls_score.device)
        if cls_score.dtype in (torch.float16, torch.bfloat16):
            cls_score = cls_score.float()
        return super()._get_predictions(cls_score, data_samples)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Ignore a projector in the checkpoint where this head has none.

        The projector serves training with contrast only, so a model without
        contrast takes such a checkpoint as it is.
        """
        if self.projector is None:
            for key in [k for k in state_dict if k.startswith(f'{prefix}projector.')]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
