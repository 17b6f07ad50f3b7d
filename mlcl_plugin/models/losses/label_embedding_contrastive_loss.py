# SPDX-License-Identifier: Apache-2.0
"""Contrast vectors of images with the embeddings of labels."""

import math

import torch
from mmengine.dist import all_reduce, get_world_size
from mmpretrain.registry import MODELS

from ...targets import is_known, is_present
from .base import TemperatureLoss, check_temperature


def label_embedding_contrastive_loss(
    vectors: torch.Tensor,
    label_embeddings: torch.Tensor,
    targets: torch.Tensor,
    temperature: float = 1.0,
) -> torch.Tensor:
    r"""Pull a vector to the embeddings of its labels, push it from the others.

    .. math::
        \mathcal{L} = \frac{1}{N} \sum_n \frac{-1}{|Y_n|} \sum_{l \in Y_n}
        \log \frac{\exp(u_n \cdot w_l / \tau)}
        {\sum_{k \in K_n} \exp(u_n \cdot w_k / \tau)}

    with the labels :math:`Y_n` present in and :math:`K_n` known of the image of
    vector :math:`u_n`. Neither side is normalised here. Vectors are not compared with
    one another.

    Source: `C-GMVAE <https://arxiv.org/abs/2112.00976>`_. Deviations: vectors of
    images without a label that is known to be present are left out, also from
    :math:`N`; in the published code one of them makes the loss nan. Unknown labels are
    neither in :math:`Y_n` nor in :math:`K_n`; in the published code all are known.

    In a run of several processes the mean is that over the vectors of all of them,
    whose gradients DDP averages; all must call the function. Each sends 4 bytes.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        vectors (Tensor): ``(N, D)``.
        label_embeddings (Tensor): ``(D, L)``, one column per label.
        targets (Tensor): ``(N, L)``: 1 present, 0 absent, -1 unknown.
        temperature (float): :math:`\tau > 0`. Defaults to 1.0.

    Returns:
        Tensor: A scalar; 0 with a live graph where no vector has a label.

    Raises:
        ValueError: If the temperature is not a positive number or the shapes
            disagree.
    """
    check_temperature(temperature)
    if (
        vectors.ndim != 2
        or label_embeddings.ndim != 2
        or vectors.size(1) != label_embeddings.size(0)
        or targets.shape != (vectors.size(0), label_embeddings.size(1))
    ):
        raise ValueError(
            'Expected vectors (N, D), label_embeddings (D, L) and targets (N, L), got '
            f'{tuple(vectors.shape)}, {tuple(label_embeddings.shape)} and '
            f'{tuple(targets.shape)}.'
        )
    with torch.autocast(vectors.device.type, enabled=False):
        dtype = torch.promote_types(vectors.dtype, torch.float32)
        scores = vectors.to(dtype) @ label_embeddings.to(dtype) / temperature
        scores = scores.where(is_known(targets), -math.inf)
        present = is_present(targets)
        labelled = present.any(dim=1)
        scores, present = scores[labelled], present[labelled]
        positive = scores.where(present, 0).sum(dim=1) / present.sum(dim=1)
        number = labelled.sum().to(dtype)
        all_reduce(number, op='mean')
        total = (scores.logsumexp(dim=1) - positive).sum()
        return total / number.clamp(min=1 / get_world_size())


@MODELS.register_module()
class LabelEmbeddingContrastiveLoss(TemperatureLoss):
    """Contrastive loss of C-GMVAE, see :func:`label_embedding_contrastive_loss`.

    Args:
        temperature (float): Divisor of the dot products, > 0. Defaults to 1.0.
        loss_weight (float): Weight of the loss. Defaults to 1.0.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is
            negative.
    """

    def __init__(self, temperature: float = 1.0, loss_weight: float = 1.0):
        super().__init__(temperature, loss_weight)

    def forward(
        self,
        vectors: torch.Tensor,
        label_embeddings: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Weighted loss.

        Args:
            vectors (Tensor): ``(N, D)``.
            label_embeddings (Tensor): ``(D, L)``, one column per label.
            targets (Tensor): ``(N, L)``: 1 present, 0 absent, -1 unknown.

        Returns:
            Tensor: A scalar.
        """
        return self.loss_weight * label_embedding_contrastive_loss(
            vectors, label_embeddings, targets, self.temperature
        )
