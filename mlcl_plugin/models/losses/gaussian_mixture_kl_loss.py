# SPDX-License-Identifier: Apache-2.0
"""Divergence of a Gaussian from the mixture of the Gaussians of its labels."""

import math

import torch
from mmengine.dist import all_reduce, get_world_size
from mmpretrain.registry import MODELS
from torch import nn

from ...targets import is_present
from .base import check_loss_weight


def gaussian_mixture_kl_loss(
    z: torch.Tensor,
    mean: torch.Tensor,
    log_var: torch.Tensor,
    label_means: torch.Tensor,
    label_log_vars: torch.Tensor,
    targets: torch.Tensor,
) -> torch.Tensor:
    r"""KL divergence of a posterior from the mixture over the labels present.

    Every label :math:`l` is a diagonal Gaussian, and the prior of an image is the
    uniform mixture over the set :math:`Y` of its labels. The divergence of the
    image's own Gaussian has no closed form; one sample :math:`z` estimates it:

    .. math::
        \mathcal{L} = \frac{1}{B} \sum_b \Big[ \log N(z_b; \mu_b, \sigma_b^2) -
        \log \frac{1}{|Y_b|} \sum_{l \in Y_b} N(z_b; \mu_l, \sigma_l^2) \Big]

    Source: `C-GMVAE <https://arxiv.org/abs/2112.00976>`_. Deviation: images without a
    label that is known to be present are left out, also from :math:`B`; in the
    published code one of them makes the loss infinite. Unknown labels are not in the
    mixture.

    A single estimate may be negative. Densities are evaluated for present labels only:
    memory is O(number of present labels x D), not O(B x L x D).

    In a run of several processes the mean is that over the images of all of them,
    whose gradients DDP averages; all must call the function. Each sends 4 bytes.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        z (Tensor): ``(B, D)``, a sample of each image's Gaussian. For gradients to
            the Gaussian it has to be made of it: ``mean + exp(log_var / 2) * noise``.
        mean (Tensor): ``(B, D)``, the means of the images.
        log_var (Tensor): ``(B, D)``, the logarithms of their variances.
        label_means (Tensor): ``(L, D)``, the means of the labels.
        label_log_vars (Tensor): ``(L, D)``, the logarithms of their variances.
        targets (Tensor): ``(B, L)``: 1 present, 0 absent, -1 unknown.

    Returns:
        Tensor: A scalar; 0 with a live graph where no image has a label.

    Raises:
        ValueError: If the shapes disagree.
    """
    shape, label_shape = z.shape, label_means.shape
    if (
        z.ndim != 2
        or label_means.ndim != 2
        or not shape == mean.shape == log_var.shape
        or label_log_vars.shape != label_shape
        or shape[1] != label_shape[1]
        or targets.shape != (shape[0], label_shape[0])
    ):
        raise ValueError(
            'Expected z, mean and log_var (B, D), label_means and label_log_vars '
            '(L, D) and targets (B, L), got '
            f'{[tuple(t.shape) for t in (z, mean, log_var)]}, '
            f'{[tuple(t.shape) for t in (label_means, label_log_vars)]} and '
            f'{tuple(targets.shape)}.'
        )
    with torch.autocast(z.device.type, enabled=False):
        dtype = torch.promote_types(z.dtype, torch.float32)
        z, mean, log_var, label_means, label_log_vars = (
            t.to(dtype) for t in (z, mean, log_var, label_means, label_log_vars)
        )
        present = is_present(targets)
        images, labels = present.nonzero(as_tuple=True)
        pairs = _log_density(z[images], label_means[labels], label_log_vars[labels])
        by_label = z.new_full(present.shape, -math.inf)
        by_label = by_label.index_put((images, labels), pairs)

        labelled = present.any(dim=1)
        posterior = _log_density(z[labelled], mean[labelled], log_var[labelled])
        mixture = by_label[labelled].logsumexp(dim=1)
        mixture = mixture - present[labelled].sum(dim=1).to(dtype).log()
        number = labelled.sum().to(dtype)
        all_reduce(number, op='mean')
        return (posterior - mixture).sum() / number.clamp(min=1 / get_world_size())


def _log_density(z, mean, log_var):
    """Log of diagonal Gaussians ``(N, D)`` at ``z``, without a term that cancels."""
    return -0.5 * ((z - mean).square() * (-log_var).exp() + log_var).sum(dim=1)


@MODELS.register_module()
class GaussianMixtureKLLoss(nn.Module):
    """KL divergence of C-GMVAE, see :func:`gaussian_mixture_kl_loss`.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 1.0.

    Raises:
        ValueError: If ``loss_weight`` is negative or not finite.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        check_loss_weight(loss_weight)
        self.loss_weight = loss_weight

    def forward(
        self,
        z: torch.Tensor,
        mean: torch.Tensor,
        log_var: torch.Tensor,
        label_means: torch.Tensor,
        label_log_vars: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Weighted loss.

        Args:
            z (Tensor): ``(B, D)`` samples of the images' Gaussians.
            mean (Tensor): ``(B, D)`` means of the images.
            log_var (Tensor): ``(B, D)`` log-variances of the images.
            label_means (Tensor): ``(L, D)`` means of the labels.
            label_log_vars (Tensor): ``(L, D)`` log-variances of the labels.
            targets (Tensor): ``(B, L)``: 1 present, 0 absent, -1 unknown.

        Returns:
            Tensor: A scalar.
        """
        return self.loss_weight * gaussian_mixture_kl_loss(
            z, mean, log_var, label_means, label_log_vars, targets
        )

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return f'loss_weight={self.loss_weight}'
