# SPDX-License-Identifier: Apache-2.0
"""Binary cross-entropy in the precision of the logits, at least float32."""

import torch
import torch.nn.functional as F
from mmpretrain.models.losses.utils import weight_reduce_loss
from mmpretrain.registry import MODELS
from torch import nn

from ..utils import check_share
from .base import at_least_float32
from .label_counts import NeedsLabelCounts


@MODELS.register_module()
class BinaryCrossEntropyLoss(nn.Module, NeedsLabelCounts):
    r"""Binary cross-entropy of every label, the classification loss of MulCon.

    It equals MMPretrain's ``CrossEntropyLoss(use_sigmoid=True)``, except that float64
    logits give a float64 loss. MMPretrain's casts targets to float32 and so the loss.

    With ``label_smoothing`` :math:`\epsilon` a target :math:`y` becomes
    :math:`(1 - \epsilon)\, y + \epsilon / 2`: present labels are trained towards
    :math:`1 - \epsilon / 2`, absent ones towards :math:`\epsilon / 2`. This is the
    smoothing of `Szegedy et al. <https://arxiv.org/abs/1512.00567>`_ with the two
    classes present and absent, as in ``torch.nn.CrossEntropyLoss`` and Keras.
    MMPretrain's ``LabelSmoothLoss(v, mode='multi_label')`` has the targets v and
    :math:`1 - v`, which is :math:`\epsilon = 2v` here; it takes soft targets, as Mixup
    makes, for present ones. Only the classification loss is smoothed: contrast gets
    the targets as they are.

    With ``pos_weight='auto'`` the weight of a label's positive entries is the number of
    training images in which it is absent by that in which it is present, at most
    ``max_pos_weight``, and 1 for a label that is never present. So present and absent
    entries of a label weigh the same in total, as ``torch.nn.BCEWithLogitsLoss``
    suggests. Scores are then no longer probabilities: find thresholds.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        pos_weight (list[float] | str, optional): One weight per label for its positive
            entries, or ``'auto'``. Defaults to None.
        label_smoothing (float): :math:`\epsilon`, from 0 to below 1. Defaults to 0.
        max_pos_weight (float): The largest weight of ``'auto'``. Defaults to 10, this
            project's choice.

    Raises:
        ValueError: If ``label_smoothing`` is outside its range, ``pos_weight`` is
            another text, or ``max_pos_weight`` is not positive.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        pos_weight: list[float] | str | None = None,
        label_smoothing: float = 0.0,
        max_pos_weight: float = 10.0,
    ):
        super().__init__()
        check_share('label_smoothing', label_smoothing)
        self.label_smoothing = label_smoothing
        self.loss_weight = loss_weight
        if isinstance(pos_weight, str) and pos_weight != 'auto':
            raise ValueError(
                "pos_weight must be a list of numbers, 'auto' or None, got "
                f'{pos_weight!r}.'
            )
        if not max_pos_weight > 0:
            raise ValueError(f'max_pos_weight must be positive, got {max_pos_weight}.')
        self.max_pos_weight = max_pos_weight
        self._is_auto = pos_weight == 'auto'
        self.pos_weight = None if self._is_auto else pos_weight

    @property
    def needs_label_counts(self) -> bool:
        """bool: Whether ``pos_weight`` is ``'auto'``."""
        return self._is_auto

    def set_label_counts(self, present: torch.Tensor, absent: torch.Tensor) -> None:
        """Set the weights of ``'auto'`` from numbers ``(L,)`` of training images."""
        weight = absent / present.clamp(min=1)
        weight = weight.clamp(max=self.max_pos_weight).where(present > 0, 1.0)
        self.pos_weight = weight.tolist()

    def forward(
        self,
        cls_score: torch.Tensor,
        label: torch.Tensor,
        weight: torch.Tensor | None = None,
        avg_factor: int | None = None,
        reduction_override: str | None = None,
    ) -> torch.Tensor:
        """Compute the loss, with MMPretrain's arguments for losses.

        Args:
            cls_score (Tensor): Logits ``(B, L)``.
            label (Tensor): Targets ``(B, L)`` from 0 to 1, not yet smoothed.
            weight (Tensor, optional): Weights that broadcast to ``(B, L)``.
            avg_factor (int, optional): Divisor instead of the number of
                entries.
            reduction_override (str, optional): ``'none'``, ``'mean'`` (the
                default) or ``'sum'``.

        Returns:
            Tensor: A scalar, or ``(B, L)`` with ``'none'``.
        """
        pos_weight = None
        if self._is_auto and self.pos_weight is None:
            raise ValueError(
                "pos_weight='auto' needs the numbers of labels. The runner of "
                '`mlcl train` counts them; otherwise call set_label_counts first.'
            )
        # Half precision would round weights and smoothed labels.
        cls_score = at_least_float32(cls_score)
        if self.pos_weight is not None:
            pos_weight = cls_score.new_tensor(self.pos_weight)
        label = label.to(cls_score.dtype)
        if self.label_smoothing:
            label = label * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(
            cls_score,
            label,
            pos_weight=pos_weight,
            reduction='none',
        )
        reduction = reduction_override or 'mean'
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction, avg_factor
        )
