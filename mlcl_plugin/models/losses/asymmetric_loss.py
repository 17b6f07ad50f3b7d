# SPDX-License-Identifier: Apache-2.0
"""Asymmetric loss that stays finite, with a gradient, at any logit."""

import math

import torch
import torch.nn.functional as F
from mmpretrain.models.losses.utils import weight_reduce_loss
from mmpretrain.registry import MODELS
from torch import nn

from ...targets import check_targets
from .base import at_least_float32


def asymmetric_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    detach_focal: bool = True,
) -> torch.Tensor:
    r"""Binary cross-entropy with lower weights for easy negatives.

    With :math:`p = \sigma(x)` and :math:`q = \min(1 - p + m, 1)`, for each entry

    .. math::
        -y\,(1 - p)^{\gamma_+} \log p - (1 - y)\,(1 - q)^{\gamma_-} \log q

    Negatives with :math:`p \le m` add nothing. Targets between 0 and 1 mix the two
    terms, each with its own exponent, as in binary cross-entropy. With both exponents
    and the margin 0 the loss is binary cross-entropy.

    Source: `ASL <https://arxiv.org/abs/2009.14119>`_. Deviations: probabilities are not
    clamped (the source clamps them at 1e-8). From :math:`|x| = 18` on the wrong side
    the loss still rises and has a gradient, where that of the source is constant
    (positives, and negatives without margin). The logarithms are formed from
    log-sigmoids, which differ from those of :math:`1 - \sigma(x)` by rounding (1e-10
    at :math:`x = 14` in float64). For targets between 0 and 1 the authors' code
    interpolates probability and exponent instead of the two terms.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        logits (Tensor): ``(B, L)``.
        targets (Tensor): ``(B, L)`` from 0 to 1.
        gamma_pos (float): :math:`\gamma_+ \ge 0`. Defaults to 0.
        gamma_neg (float): :math:`\gamma_- \ge 0`. Defaults to 4.
        clip (float): The margin m of negatives, :math:`0 \le m < 1`.
            Defaults to 0.05.
        detach_focal (bool): No gradient through :math:`(\cdot)^\gamma`, as in the
            authors' training. Defaults to True.

    Returns:
        Tensor: ``(B, L)``, float32 or float64.

    Raises:
        ValueError: If an option is outside its range, the shapes disagree or a target
            is not from 0 to 1.
    """
    _check_options(gamma_pos, gamma_neg, clip)
    if logits.shape != targets.shape:
        raise ValueError(
            'Expected logits and targets of one shape, got '
            f'{tuple(logits.shape)} and {tuple(targets.shape)}.'
        )
    # A head of this project leaves unknown labels out before.
    check_targets(targets, soft=True, unknown=False)
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        targets = targets.to(logits.dtype)
        log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
        # log(1 - p + m), without forming 1 - p; the log of no margin is -inf.
        log_margin = logits.new_full((), clip).log()
        log_q = torch.logaddexp(log_not_p, log_margin).clamp(max=0)
        excess = logits.sigmoid() - clip
        counts = excess > 0
        # The gradient of a power at 0 may be infinite: keep the 0 out of it.
        focal_neg = excess.where(counts, 1).pow(gamma_neg).where(counts, 0)
        focal_pos = (gamma_pos * log_not_p).exp()
        if detach_focal:
            focal_pos, focal_neg = focal_pos.detach(), focal_neg.detach()
        return -(targets * focal_pos * log_p + (1 - targets) * focal_neg * log_q)


def _check_options(gamma_pos: float, gamma_neg: float, clip: float) -> None:
    for name, value in dict(gamma_pos=gamma_pos, gamma_neg=gamma_neg).items():
        if not 0 <= value < math.inf:
            raise ValueError(f'{name} must be finite and not negative, got {value}.')
    if not 0 <= clip < 1:
        raise ValueError(f'clip must be 0 or more and below 1, got {clip}.')


@MODELS.register_module()
class StableAsymmetricLoss(nn.Module):
    """Asymmetric loss, see :func:`asymmetric_loss`.

    It replaces MMPretrain's ``AsymmetricLoss``, which is not finite in float16 and has
    no gradient at a logit of 20 in float32. With ``detach_focal=False`` both agree
    where MMPretrain's is finite and has a gradient.

    Args:
        gamma_pos (float): Exponent of positives. Defaults to 0.
        gamma_neg (float): Exponent of negatives. Defaults to 4.
        clip (float): Probability below which negatives add nothing. Defaults to 0.05.
        detach_focal (bool): No gradient through the focal factor. Defaults to True.
        loss_weight (float): Weight of the loss. Defaults to 1.0.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        detach_focal: bool = True,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        _check_options(gamma_pos, gamma_neg, clip)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip
        self.detach_focal = detach_focal
        self.loss_weight = loss_weight

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
            label (Tensor): Targets ``(B, L)`` from 0 to 1.
            weight (Tensor, optional): Weights that broadcast to ``(B, L)``.
            avg_factor (int, optional): Divisor instead of the number of
                entries.
            reduction_override (str, optional): ``'none'``, ``'mean'`` (the
                default) or ``'sum'``.

        Returns:
            Tensor: A scalar, or ``(B, L)`` with ``'none'``.
        """
        loss = asymmetric_loss(
            cls_score,
            label,
            self.gamma_pos,
            self.gamma_neg,
            self.clip,
            self.detach_focal,
        )
        reduction = reduction_override or 'mean'
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction, avg_factor
        )

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'gamma_pos={self.gamma_pos}, gamma_neg={self.gamma_neg}, '
            f'clip={self.clip}, detach_focal={self.detach_focal}, '
            f'loss_weight={self.loss_weight}'
        )
