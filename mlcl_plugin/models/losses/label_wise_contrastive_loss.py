# SPDX-License-Identifier: Apache-2.0
"""The label-level contrastive loss of MulCon."""

import math

import torch
from mmpretrain.registry import MODELS
from torch import nn


def label_wise_contrastive_loss(
    embeddings: torch.Tensor,
    labels: torch.Tensor,
    temperature: float = 0.2,
    negatives: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Pull embeddings of one label together, push those of others apart.

    For the set :math:`I` of the N active embeddings, with :math:`P(i)` those
    of the same label as :math:`i` other than :math:`i` itself:

    .. math::
        \mathcal{L} = \frac{1}{N} \sum_{i \in I} \frac{-1}{|P(i)|}
        \sum_{p \in P(i)} \log \frac{\exp(z_i \cdot z_p / \tau)}
        {\sum_{a \in I \setminus \{i\}} \exp(z_i \cdot z_a / \tau)}

    An anchor without another embedding of its label adds 0 to the sum and
    still counts in N. ``negatives`` join the denominators only.

    Source: `MulCon <https://arxiv.org/abs/2107.11626>`_, the label-level
    contrastive loss. Deviation: the method takes the embeddings of all GPUs
    together, this function those it is given, which are one process's in a run of
    several. The sum over :math:`P(i)` is taken in closed
    form, :math:`z_i \cdot (S_c - z_i)` with :math:`S_c` the sum of the
    embeddings of label :math:`c`, which is the same number without a matrix of
    positive pairs.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        embeddings (Tensor): ``(N, D)``, unit vectors, one for every label
            present in an image or view.
        labels (Tensor): ``(N,)`` int64, the label of each embedding.
        temperature (float): :math:`\tau > 0`. Defaults to 0.2.
        negatives (Tensor, optional): ``(M, D)`` further unit vectors for all
            denominators. Defaults to None.

    Returns:
        Tensor: A scalar; 0 with a live graph where no anchor has a positive.

    Raises:
        ValueError: If the temperature is not a positive number or the shapes
            disagree.
    """
    check_temperature(temperature)
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            'Expected embeddings (N, D) and labels (N,), got '
            f'{tuple(embeddings.shape)} and {tuple(labels.shape)}.'
        )
    if negatives is not None and (
        negatives.ndim != 2 or negatives.size(1) != embeddings.size(1)
    ):
        raise ValueError(
            f'Expected negatives (M, {embeddings.size(1)}), as wide as the '
            f'embeddings, got {tuple(negatives.shape)}.'
        )
    with torch.autocast(embeddings.device.type, enabled=False):
        z = _at_least_float32(embeddings)
        if negatives is not None:
            negatives = _at_least_float32(negatives)
        if len(z) < 2:
            # No pair, hence no positive; the graph stays whole for DDP.
            zero = z.sum() * 0
            return zero if negatives is None else zero + negatives.sum() * 0

        _, index, counts = labels.unique(return_inverse=True, return_counts=True)
        sums = z.new_zeros(len(counts), z.size(1)).index_add(0, index, z)
        num_positives = (counts - 1)[index]
        pull = (z * (sums[index] - z)).sum(dim=1) / num_positives.clamp(min=1)

        similarity = (z @ z.T) / temperature
        similarity.fill_diagonal_(-math.inf)
        push = similarity.logsumexp(dim=1)
        if negatives is not None:
            others = (z @ negatives.T) / temperature
            push = torch.logaddexp(push, others.logsumexp(dim=1))
        losses = push - pull / temperature
        return losses.where(num_positives > 0, 0).mean()


def check_temperature(temperature: float) -> None:
    """Raise a ``ValueError`` unless ``temperature`` is positive and finite."""
    if not 0 < temperature < math.inf:
        raise ValueError(
            f'temperature must be a positive, finite number, got {temperature}.'
        )


def _at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


@MODELS.register_module()
class LabelWiseContrastiveLoss(nn.Module):
    """MulCon's label-level contrastive loss, see
    :func:`label_wise_contrastive_loss`.

    Args:
        temperature (float): Divisor of the cosines, > 0. Defaults to 0.2.
        loss_weight (float): Weight of the loss (gamma in the paper).
            Defaults to 0.5.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is
            negative.
    """

    def __init__(self, temperature: float = 0.2, loss_weight: float = 0.5):
        super().__init__()
        check_temperature(temperature)
        if not 0 <= loss_weight < math.inf:
            raise ValueError(
                f'loss_weight must be finite and not negative, got {loss_weight}.'
            )
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        negatives: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Weighted loss of ``(N, D)`` embeddings with ``(N,)`` labels.

        Args:
            embeddings (Tensor): ``(N, D)`` unit vectors of present labels.
            labels (Tensor): ``(N,)`` their labels.
            negatives (Tensor, optional): ``(M, D)`` unit vectors that join the
                denominators only. Defaults to None.

        Returns:
            Tensor: A scalar.
        """
        return self.loss_weight * label_wise_contrastive_loss(
            embeddings, labels, self.temperature, negatives
        )

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}, loss_weight={self.loss_weight}'
