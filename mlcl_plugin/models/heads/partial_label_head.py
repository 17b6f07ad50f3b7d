# SPDX-License-Identifier: Apache-2.0
"""Base of multi-label heads for targets with unknown labels."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch import nn

from ...targets import is_known
from ..utils.targets import collect_targets


class PartialLabelHead(MultiLabelClsHead):
    """Base of this project's heads: it checks targets and leaves unknown ones out.

    Unknown labels (-1) take part in no classification loss: they get no gradient and
    do not count in the mean. Scores are computed in float32.

    Args:
        num_classes (int): Number of labels L.
        loss (dict | nn.Module): The classification loss, or its config: any loss of
            MMPretrain that is a function of logit and target entry by entry
            (``CrossEntropyLoss`` with ``use_sigmoid=True``, ``AsymmetricLoss``,
            ``FocalLoss``). Defaults to binary cross-entropy.
        loss_reduction (str): How the entries of ``loss`` are reduced. ``'mean'``
            averages over all known entries (MulCon), ``'batch'`` sums over
            labels and averages over images (MMPretrain's own heads), ``'sum'``
            sums (the authors of ASL). Loss weights and learning rates do not
            carry over from one to another. The first two count the images of all
            processes; of a sum, DDP takes the mean over processes.
            Defaults to ``'mean'``.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` has priority over it; without both, ``thr`` is 0.5.
        init_cfg (dict | list, optional): Initialization config. Defaults to None.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        loss: dict | nn.Module = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        if num_classes < 1:
            raise ValueError(
                f'num_classes must be positive, got num_classes={num_classes}.'
            )
        # Only some losses of MMPretrain have the option, and no base class tells which.
        if not getattr(self.loss_module, 'use_sigmoid', True):
            raise ValueError(
                f'{type(self.loss_module).__name__} has use_sigmoid=False: its softmax '
                'compares the labels of an image, so that unknown ones cannot be left '
                'out. Set use_sigmoid=True.'
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
        self.num_classes = num_classes
        self.loss_reduction = loss_reduction

    def loss(
        self, feats: Sequence[torch.Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch.

        Args:
            feats (Sequence[Tensor]): The output of neck or backbone.
            data_samples (list[DataSample]): B samples with ``gt_score`` (1
                present, 0 absent, -1 unknown) or ``gt_label`` (indices).
            **kwargs: Passed on to the classification loss.

        Returns:
            dict[str, Tensor]: ``loss_cls``.

        Raises:
            ValueError: If a target is malformed, see
                :func:`mlcl_plugin.models.utils.collect_targets`.
        """
        return self._get_loss(self(feats), data_samples, **kwargs)

    def collect_targets(
        self, data_samples: list[DataSample], logits: torch.Tensor
    ) -> torch.Tensor:
        """The targets ``(B, L)`` of a batch, where its logits ``(B, L)`` are.

        Raises:
            ValueError: If a target is malformed, or there are more or fewer samples
                than images.
        """
        targets = collect_targets(data_samples, self.num_classes, logits.device)
        if len(targets) != len(logits):
            raise ValueError(
                f'Got {len(logits)} images but {len(targets)} data samples. With '
                'several views per image, use MultiViewDataPreprocessor as the '
                "model's data_preprocessor."
            )
        return targets

    def classification_loss(
        self, logits: torch.Tensor, targets: torch.Tensor, **kwargs
    ) -> torch.Tensor:
        """Loss over the known entries of ``(B, L)`` logits and targets.

        Raises:
            ValueError: If the loss does not give one value for each logit.
        """
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        known = is_known(targets)
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
        if self.loss_reduction == 'sum':
            return total
        if self.loss_reduction == 'mean':
            number = known.sum().to(total.dtype)
        else:
            number = total.new_tensor(len(logits))
        # DDP averages the gradients. Divided by the mean number of entries per process,
        # they are those of the joined batch, also where numbers differ.
        all_reduce(number, op='mean')
        return total / number.clamp(min=1 / get_world_size())

    def _get_loss(
        self, cls_score: torch.Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, torch.Tensor]:
        """Classification loss of given logits (MMPretrain's head contract)."""
        targets = self.collect_targets(data_samples, cls_score)
        return dict(loss_cls=self.classification_loss(cls_score, targets, **kwargs))

    def _get_predictions(
        self, cls_score: torch.Tensor, data_samples: list[DataSample] | None
    ) -> list[DataSample]:
        """Score in float32, since a half-precision sigmoid makes ties.

        Raises:
            ValueError: If a target has another number of labels.
        """
        targets = [sample for sample in data_samples or () if 'gt_score' in sample]
        if targets:
            # The error of MMPretrain's data sample does not name the image.
            collect_targets(targets, self.num_classes, cls_score.device)
        if cls_score.dtype in (torch.float16, torch.bfloat16):
            cls_score = cls_score.float()
        return super()._get_predictions(cls_score, data_samples)
