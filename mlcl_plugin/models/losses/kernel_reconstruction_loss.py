# SPDX-License-Identifier: Apache-2.0
"""Share of a feature's likelihood that the kernels of its labels explain."""

import math

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from ...targets import is_known, is_present
from ..utils import check_share
from .base import check_loss_weight
from .kernel_contrastive_loss import check_kernels, kernel_deviations


def kernel_reconstruction_loss(
    features: torch.Tensor,
    logits: torch.Tensor,
    means: torch.Tensor,
    variances: torch.Tensor,
    targets: torch.Tensor,
    kernel_floor: float = 2.0**-126,
    ratio_floor: float = 1e-7,
) -> torch.Tensor:
    r"""Explain a feature by the kernels of the labels that are present.

    .. math::
        \mathcal{L} = \frac{1}{B} \sum_b -\log \frac{\sum_{k \in Y_b} \pi_{bk} G_{bk}}
        {\sum_{k \in K_b} \pi_{bk} G_{bk}}, \quad G_{bk} = \exp \Big( -\sum_m
        \frac{(f_{bm} - \mu_{bkm})^2}{2 \sigma_{bkm}^2} \Big)

    with the labels :math:`Y_b` present in and :math:`K_b` known of image :math:`b` and
    the weights :math:`\pi = \mathrm{sigmoid}(\mathrm{logits})`. An isotropic kernel
    has one :math:`\mu` and one :math:`\sigma` for all coordinates :math:`m`. Kernels
    are clamped below at ``kernel_floor`` and the ratio at ``ratio_floor``. An image
    without a label that is known to be present has a ratio of 0 and adds the constant
    ``-log(ratio_floor)``.

    Source: `KMCL <https://github.com/mahdihosseini/KMCL>`_, whose clamps are the
    defaults. For features of many dimensions all kernels may be below the floor and get
    no gradient. ``kernel_floor=0`` removes the floor, since everything is computed in
    logarithms here. Deviation: unknown labels are in neither sum; in the published code
    all are known.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        features (Tensor): ``(B, M)``.
        logits (Tensor): ``(B, K)``, the logits of the kernels' weights.
        means (Tensor): ``(B, K)`` of isotropic, ``(B, M, K)`` of anisotropic kernels.
        variances (Tensor): Of the same shape, positive.
        targets (Tensor): ``(B, K)``: 1 present, 0 absent, -1 unknown.
        kernel_floor (float): The smallest value of a kernel, 0 for none. Defaults to
            1.1755e-38, the smallest of float32.
        ratio_floor (float): The smallest ratio, > 0. Defaults to 1e-7.

    Returns:
        Tensor: A scalar with a live graph.

    Raises:
        ValueError: If a floor has a value outside its range or the shapes disagree.
    """
    _check_floors(kernel_floor, ratio_floor)
    check_kernels(means, variances, targets)
    if (
        features.ndim != 2
        or len(features) != len(means)
        or logits.shape != targets.shape
        or (means.ndim == 3 and means.size(1) != features.size(1))
    ):
        raise ValueError(
            'Expected features (B, M) and logits (B, K) for means (B, K) or (B, M, K), '
            f'got {tuple(features.shape)}, {tuple(logits.shape)} and '
            f'{tuple(means.shape)}.'
        )
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(features.dtype, torch.float32)
        features, logits, means, variances = (
            t.to(dtype) for t in (features, logits, means, variances)
        )
        squares = _scaled_squares(features, means, kernel_deviations(variances))
        log_kernels = -0.5 * squares
        if kernel_floor:
            log_kernels = log_kernels.clamp(min=math.log(kernel_floor))
        present = is_present(targets)
        labelled = present.any(dim=1)
        parts = (F.logsigmoid(logits) + log_kernels)[labelled]
        explained = parts.masked_fill(~present[labelled], -math.inf).logsumexp(dim=1)
        known = is_known(targets[labelled])
        everything = parts.where(known, -math.inf).logsumexp(dim=1)
        log_floor = math.log(ratio_floor)
        log_ratios = (explained - everything).clamp(min=log_floor)
        total = log_ratios.sum() + (~labelled).to(dtype).sum() * log_floor
        return -total / max(len(features), 1)


def _scaled_squares(features, means, deviations):
    """Squared distances ``(B, K)`` from the means, in units of the deviations."""
    if means.ndim == 3:
        shifts = (features.unsqueeze(2) - means) / deviations
        return shifts.square().sum(dim=1)
    # Around the mean coordinate: no tensor (B, M, K), and nothing cancels.
    centre = features.mean(dim=1, keepdim=True)
    spread = (features - centre).square().sum(dim=1, keepdim=True)
    squares = spread + features.size(1) * (centre - means).square()
    return squares / deviations.square()


def _check_floors(kernel_floor: float, ratio_floor: float) -> None:
    check_share('kernel_floor', kernel_floor)
    if not 0 < ratio_floor < 1:
        raise ValueError(f'ratio_floor must be between 0 and 1, got {ratio_floor}.')


@MODELS.register_module()
class KernelReconstructionLoss(nn.Module):
    """Reconstruction loss of KMCL, see :func:`kernel_reconstruction_loss`.

    Args:
        kernel_floor (float): The smallest value of a kernel, 0 for none. Defaults to
            1.1755e-38, the smallest of float32.
        ratio_floor (float): The smallest ratio, > 0. Defaults to 1e-7.
        loss_weight (float): Weight of the loss. Defaults to 1.0.

    Raises:
        ValueError: If a floor has a value outside its range or ``loss_weight`` is
            negative.
    """

    def __init__(
        self,
        kernel_floor: float = 2.0**-126,
        ratio_floor: float = 1e-7,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        _check_floors(kernel_floor, ratio_floor)
        check_loss_weight(loss_weight)
        self.kernel_floor = kernel_floor
        self.ratio_floor = ratio_floor
        self.loss_weight = loss_weight

    def forward(
        self,
        features: torch.Tensor,
        logits: torch.Tensor,
        means: torch.Tensor,
        variances: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Weighted loss.

        Args:
            features (Tensor): ``(B, M)``.
            logits (Tensor): ``(B, K)`` logits of the kernels' weights.
            means (Tensor): ``(B, K)`` of isotropic, ``(B, M, K)`` of anisotropic
                kernels.
            variances (Tensor): Of the same shape, positive.
            targets (Tensor): ``(B, K)``: 1 present, 0 absent, -1 unknown.

        Returns:
            Tensor: A scalar.
        """
        return self.loss_weight * kernel_reconstruction_loss(
            features,
            logits,
            means,
            variances,
            targets,
            self.kernel_floor,
            self.ratio_floor,
        )

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'kernel_floor={self.kernel_floor:.4g}, ratio_floor={self.ratio_floor}, '
            f'loss_weight={self.loss_weight}'
        )
