# SPDX-License-Identifier: Apache-2.0
"""Contrast the Gaussian kernels that images have for a class."""

import math

import torch
from mmpretrain.registry import MODELS
from torch.utils.checkpoint import checkpoint

from ...targets import is_known, is_present
from .base import TemperatureLoss, check_temperature

# The authors' code adds these to standard deviations and inside the logarithm.
DEVIATION_EPS = 2.0**-26
LOG_EPS = 1e-7
# Entries of the largest tensor: 16 MB in float32.
CHUNK_ENTRIES = 2**22


def kernel_contrastive_loss(
    means: torch.Tensor,
    variances: torch.Tensor,
    targets: torch.Tensor,
    temperature: float = 0.17,
    distance_factor: float = 1.0,
    chunk_entries: int = CHUNK_ENTRIES,
) -> torch.Tensor:
    r"""Make the kernels of images with shared labels overlap, class by class.

    Image :math:`n` has a Gaussian kernel for every class :math:`k`. The Bhattacharyya
    coefficient of those of two images is :math:`\rho_{nik} = \exp(-d_{nik})`,

    .. math::
        d_{nik} = \kappa \sum_m \frac{1}{2} \log \frac{\sigma_{nkm}^2 + \sigma_{ikm}^2}
        {2 \sigma_{nkm} \sigma_{ikm}} + \frac{(\mu_{nkm} - \mu_{ikm})^2}
        {4 (\sigma_{nkm}^2 + \sigma_{ikm}^2)}

    over the M coordinates of an anisotropic kernel. An isotropic one has one mean and
    one variance for all coordinates, so that the sum has one term and
    :math:`\kappa = M` gives the distance. With :math:`P(n)` the other images that
    share a label with :math:`n`, and :math:`J_{ni}` their labels in common over their
    labels in total (Jaccard):

    .. math::
        \mathcal{L} = \frac{1}{B} \sum_n \frac{1}{|P(n)|} \sum_{i \in P(n)}
        \sum_{k \in Y_n \cap Y_i} -\log \Big[ J_{ni} \frac{\exp(\rho_{nik} / \tau)}
        {\sum_{a \ne n} \exp(\rho_{nak} / \tau)} + 10^{-7} \Big]

    An image without a partner adds 0 and still counts in B. :math:`J` is inside the
    logarithm: apart from the :math:`10^{-7}`, it changes the value and not the
    gradient.

    Source: `KMCL <https://github.com/mahdihosseini/KMCL>`_. As there,
    1.49e-8 is added to every standard deviation. For anisotropic kernels the
    published distance has :math:`\kappa = M`, M times that of Bhattacharyya
    (:math:`\kappa = 1`). Deviations: unknown labels are not in :math:`Y`; an image is
    not in the denominators of a class that is unknown in it; :math:`J` is taken over
    the labels that are known in both images. In the published code all are known.

    The published code forms all B x B x K pairs, times M. Here only present labels are
    compared with the batch, in chunks that the backward pass computes once more. Apart
    from the inputs and, per chunk, their gradient, memory is O(``chunk_entries``).

    In a run of several processes each contrasts its own images.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        means (Tensor): ``(B, K)`` of isotropic, ``(B, M, K)`` of anisotropic kernels.
        variances (Tensor): Of the same shape, positive.
        targets (Tensor): ``(B, K)``: 1 present, 0 absent, -1 unknown.
        temperature (float): :math:`\tau > 0`. Defaults to 0.17.
        distance_factor (float): :math:`\kappa > 0`. Defaults to 1.0.
        chunk_entries (int): Entries of the largest tensor, at the least B x M.
            Defaults to 4 million.

    Returns:
        Tensor: A scalar; 0 with a live graph where no image has a partner.

    Raises:
        ValueError: If temperature or factor is not a positive number, or the shapes
            disagree.
    """
    check_temperature(temperature)
    if not 0 < distance_factor < math.inf:
        raise ValueError(
            f'distance_factor must be positive and finite, got {distance_factor}.'
        )
    if chunk_entries < 1:
        raise ValueError(f'chunk_entries must be positive, got {chunk_entries}.')
    check_kernels(means, variances, targets)
    with torch.autocast(means.device.type, enabled=False):
        dtype = torch.promote_types(means.dtype, torch.float32)
        means, deviations = means.to(dtype), kernel_deviations(variances.to(dtype))
        present = is_present(targets)
        # A label of a single image is shared with none.
        images, labels = (present & (present.sum(dim=0) > 1)).nonzero(as_tuple=True)
        if not len(images):
            return means.sum() * 0 + deviations.sum() * 0
        if means.ndim == 2:
            means, deviations = means.unsqueeze(1), deviations.unsqueeze(1)
        batch = _Batch(targets, dtype)
        # (B, M, K) to (K, B, M): a class of a batch is one block of memory.
        means, deviations = (
            t.permute(2, 0, 1).contiguous() for t in (means, deviations)
        )

        rows = max(chunk_entries // (means.size(1) * means.size(2)), 1)
        chunks = list(zip(images.split(rows), labels.split(rows)))

        def compute(means, deviations, images, labels):
            mean, deviation = means[labels], deviations[labels]
            distances = _distances(
                means[labels, images].unsqueeze(1),
                deviations[labels, images].unsqueeze(1),
                mean,
                deviation,
            )
            similarities = (-distance_factor * distances).exp() / temperature
            return batch.loss(similarities, images, labels)

        if len(chunks) == 1:
            return compute(means, deviations, images, labels)
        return sum(
            checkpoint(
                compute,
                means,
                deviations,
                *chunk,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for chunk in chunks
        )


class _Batch:
    """Pairs of images of a batch, and the loss of some anchors.

    Args:
        targets (Tensor): ``(B, K)``.
        dtype (torch.dtype): That of the loss.
    """

    def __init__(self, targets: torch.Tensor, dtype: torch.dtype):
        self.present, self.known = is_present(targets), is_known(targets)
        present, known = self.present.to(dtype), self.known.to(dtype)
        shared = present @ present.t()
        # Labels of one of the two images that are known of the other.
        either = present @ known.t() + known @ present.t() - shared
        self.log_jaccard = shared.log() - either.clamp(min=1).log()
        self.num_partners = (shared > 0).sum(dim=1) - self.present.any(dim=1).int()

    def loss(
        self, similarities: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Part of the loss: ``(R,)`` anchors, with ``(R, B)`` similarities."""
        own = torch.zeros_like(similarities, dtype=torch.bool)
        own = own.scatter(1, images.unsqueeze(1), True)
        partner = self.present.t()[labels] & ~own
        others = self.known.t()[labels] & ~own
        similarities = similarities.masked_fill(~others, -math.inf)
        log_ratio = similarities.log_softmax(dim=1) + self.log_jaccard[images]
        log_ratio = log_ratio.where(partner, 0)
        floor = torch.full_like(log_ratio, math.log(LOG_EPS))
        terms = -torch.logaddexp(log_ratio, floor)
        terms = terms.where(partner, 0).sum(dim=1)
        return (terms / self.num_partners[images]).sum() / len(self.present)


def _distances(mean1, deviation1, mean2, deviation2):
    """Bhattacharyya distances of kernels ``(..., M)``, summed over coordinates."""
    # log((a^2 + b^2) / (2 a b)), exact also where a and b are almost equal.
    spread = (
        (deviation1 - deviation2).square() / (2 * deviation1 * deviation2)
    ).log1p()
    shift = (mean1 - mean2).square() / (deviation1.square() + deviation2.square())
    return (0.5 * spread + 0.25 * shift).sum(dim=-1)


def kernel_deviations(variances: torch.Tensor) -> torch.Tensor:
    """Standard deviations as in KMCL, never 0."""
    return variances.sqrt() + DEVIATION_EPS


def check_kernels(
    means: torch.Tensor, variances: torch.Tensor, targets: torch.Tensor
) -> None:
    """Raise a ``ValueError`` unless kernels and targets fit together."""
    if (
        means.ndim not in (2, 3)
        or variances.shape != means.shape
        or targets.shape != (means.size(0), means.size(-1))
    ):
        raise ValueError(
            'Expected means and variances (B, K) or (B, M, K) and targets (B, K), got '
            f'{tuple(means.shape)}, {tuple(variances.shape)} and '
            f'{tuple(targets.shape)}.'
        )


@MODELS.register_module()
class KernelContrastiveLoss(TemperatureLoss):
    """Contrastive loss of KMCL, see :func:`kernel_contrastive_loss`.

    Args:
        temperature (float): Divisor of the Bhattacharyya coefficients, > 0.
            Defaults to 0.17.
        times_dims (bool): Multiply the distance of anisotropic kernels by their
            number of coordinates, as the authors' code does. False is the distance of
            Bhattacharyya. Of no effect on isotropic kernels, whose distance is exact.
            Defaults to True.
        loss_weight (float): Weight of the loss. Defaults to 1.0.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is
            negative.
    """

    def __init__(
        self,
        temperature: float = 0.17,
        times_dims: bool = True,
        loss_weight: float = 1.0,
    ):
        super().__init__(temperature, loss_weight)
        self.times_dims = times_dims

    def forward(
        self,
        means: torch.Tensor,
        variances: torch.Tensor,
        targets: torch.Tensor,
        num_dims: int,
    ) -> torch.Tensor:
        """Weighted loss.

        Args:
            means (Tensor): ``(B, K)`` of isotropic, ``(B, M, K)`` of anisotropic
                kernels.
            variances (Tensor): Of the same shape, positive.
            targets (Tensor): ``(B, K)``: 1 present, 0 absent, -1 unknown.
            num_dims (int): The number M of coordinates.

        Returns:
            Tensor: A scalar.
        """
        factor = num_dims if means.ndim == 2 or self.times_dims else 1.0
        return self.loss_weight * kernel_contrastive_loss(
            means, variances, targets, self.temperature, factor
        )

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'temperature={self.temperature}, times_dims={self.times_dims}, '
            f'loss_weight={self.loss_weight}'
        )
