# SPDX-License-Identifier: Apache-2.0
"""The prototype-to-sample contrastive loss of SADCL."""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ...targets import is_known, is_present
from .base import TemperatureLoss, at_least_float32, check_temperature


def prototype_contrastive_loss(
    embeddings: torch.Tensor,
    prototypes: torch.Tensor,
    targets: torch.Tensor,
    temperature: float = 0.07,
) -> torch.Tensor:
    r"""Pull a label's embeddings to its prototype where the label is present.

    With :math:`c_{bl} = \cos(z_{bl}, p_l) / \tau` the images of a batch compete for
    the prototype of each label:

    .. math::
        \mathcal{L} = \frac{-1}{\sum_{bl} y_{bl}} \sum_l \Big[
        \log \sum_{b:\, y_{bl} = 1} \exp c_{bl} - \log \sum_b \exp c_{bl} \Big]

    For a label that no image shows, the first logarithm is :math:`\max_b c_{bl}`
    without gradient, so that the term pushes the nearest embeddings away from its
    prototype. Unknown labels are in neither sum, and a label that is unknown
    everywhere has no term.

    Source: `SADCL <https://arxiv.org/abs/2307.09715>`_, the prototype-to-sample loss.
    Deviations: a batch without any present label gives 0 instead of an error;
    the method has no unknown labels.

    The batch is that of one process, as in the method: DDP averages the gradients of
    the processes' losses.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        embeddings (Tensor): ``(B, L, P)``, of any length, one for every label.
        prototypes (Tensor): ``(L, P)``, of any length.
        targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown. A value between
            0 and 1 counts as absent.
        temperature (float): :math:`\tau > 0`. Defaults to 0.07.

    Returns:
        Tensor: A scalar; 0 with a live graph where no label is present.

    Raises:
        ValueError: If the temperature is not a positive number or the shapes disagree.
    """
    check_temperature(temperature)
    _check_shapes(embeddings, prototypes, targets)
    with torch.autocast(embeddings.device.type, enabled=False):
        z = F.normalize(at_least_float32(embeddings), dim=-1)
        p = F.normalize(prototypes.to(z.dtype), dim=-1)
        scores = torch.einsum('blp,lp->bl', z, p) / temperature
        present, known = is_present(targets), is_known(targets)
        top = scores.detach().where(known, -torch.inf).amax(dim=0)
        pull = _logsumexp(scores, present).where(present.any(dim=0), top)
        terms = _logsumexp(scores, known) - pull
        total = terms.where(known.any(dim=0), 0).sum()
        number = present.sum()
        return total * (number > 0) / number.clamp(min=1)


def _logsumexp(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of each column's entries in ``mask``; finite if there are none."""
    # The logarithm of an empty sum has the gradient nan, even if it is not used.
    return scores.where(mask | ~mask.any(dim=0), -torch.inf).logsumexp(dim=0)


def _check_shapes(embeddings, prototypes, targets) -> None:
    if embeddings.ndim != 3 or len(embeddings) == 0:
        raise ValueError(
            'Expected embeddings (B > 0, L, P) of every label, got '
            f'{tuple(embeddings.shape)}.'
        )
    if prototypes.shape != embeddings.shape[1:]:
        raise ValueError(
            f'Expected prototypes {tuple(embeddings.shape[1:])}, one of the width of '
            f'the embeddings for each label, got {tuple(prototypes.shape)}.'
        )
    if targets.shape != embeddings.shape[:2]:
        raise ValueError(
            f'Expected targets {tuple(embeddings.shape[:2])}, one for each embedding, '
            f'got {tuple(targets.shape)}.'
        )


@MODELS.register_module()
class PrototypeContrastiveLoss(TemperatureLoss):
    """SADCL's prototype-to-sample loss, see :func:`prototype_contrastive_loss`.

    Args:
        temperature (float): Divisor of the cosines, > 0. Defaults to 0.07.
        loss_weight (float): Weight of the loss. SADCL's is 0.05 of the mean binary
            cross-entropy's. Defaults to 0.05.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is
            negative.
    """

    def __init__(self, temperature: float = 0.07, loss_weight: float = 0.05):
        super().__init__(temperature, loss_weight)

    def forward(
        self, embeddings: torch.Tensor, prototypes: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Weighted loss of ``(B, L, P)`` embeddings and ``(L, P)`` prototypes.

        Args:
            embeddings (Tensor): ``(B, L, P)``.
            prototypes (Tensor): ``(L, P)``.
            targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.

        Returns:
            Tensor: A scalar.
        """
        return self.loss_weight * prototype_contrastive_loss(
            embeddings, prototypes, targets, self.temperature
        )
