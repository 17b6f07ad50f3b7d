# SPDX-License-Identifier: Apache-2.0
"""Contrast of the embeddings of each label, present against absent."""

import math

import torch
from mmengine.dist import all_reduce
from mmpretrain.registry import MODELS

from ...targets import is_present
from ..utils.gather import scale_gradient
from .base import KnownLabelContrast, check_temperature
from .rows_of_labels import arrange_known


def within_label_contrastive_loss(
    embeddings: torch.Tensor,
    labels: torch.Tensor,
    present: torch.Tensor,
    temperature: float = 0.2,
    across_processes: bool = False,
) -> torch.Tensor:
    r"""Pull together where a label is present, push away where it is absent.

    Embeddings of different labels are not compared, since label queries separate them
    already. With :math:`A_l` the embeddings of label :math:`l` in all images where
    it is known, :math:`P_l` those where it is present, and N the number of all anchors,
    the present embeddings that have another present one of their label:

    .. math::
        \mathcal{L} = \frac{1}{N} \sum_l \sum_{i \in P_l} \frac{-1}{|P_l| - 1}
        \sum_{p \in P_l \setminus \{i\}} \log \frac{\exp(z_i \cdot z_p / \tau)}
        {\sum_{a \in A_l \setminus \{i\}} \exp(z_i \cdot z_a / \tau)}

    Source: this project. It is `SupCon <https://arxiv.org/abs/2004.11362>`_ within
    each label with the classes present and absent, of which only present has anchors.

    With ``across_processes`` the embeddings are those of all processes, and gradients
    after DDP are those of one process with the joined batch, see
    :func:`label_wise_contrastive_loss`. Memory is O(labels x images x images).
    Computed in float32 under any autocast (float64 stays float64).

    Args:
        embeddings (Tensor): ``(N, D)``, unit vectors of labels that are known.
        labels (Tensor): ``(N,)`` int64, the label of each embedding.
        present (Tensor): ``(N,)`` bool, whether the label is present.
        temperature (float): :math:`\tau > 0`. Defaults to 0.2.
        across_processes (bool): Contrast the embeddings of all processes. All of
            them must call the function. Defaults to False.

    Returns:
        Tensor: A scalar; 0 with a live graph where no anchor has a positive.

    Raises:
        ValueError: If the temperature is not a positive number or the shapes
            disagree.
    """
    check_temperature(temperature)
    with torch.autocast(embeddings.device.type, enabled=False):
        rows = arrange_known(
            embeddings, labels, present, across_processes=across_processes
        )
        if not len(rows.labels):
            return embeddings.sum() * 0
        z, others = rows.embeddings, rows.others
        similarities = z @ z.transpose(1, 2) / temperature
        positives = rows.present[:, :, None] & rows.present[:, None] & others
        numbers = positives.sum(dim=2)
        active = numbers > 0
        # Rows without others would give -inf, and nan in the backward pass.
        log_sums = (
            similarities[active]
            .masked_fill(~others[active], -math.inf)
            .logsumexp(dim=1)
        )
        pulls = (similarities * positives).sum(dim=2)[active] / numbers[active]
        loss = (log_sums - pulls).sum() / active.sum().clamp(min=1)
        return scale_gradient(loss, rows.world_size)


@MODELS.register_module()
class WithinLabelContrastiveLoss(KnownLabelContrast):
    """Contrast within labels, see :func:`within_label_contrastive_loss`.

    A ``LabelWiseClsHead`` takes it instead of ``LabelWiseContrastiveLoss``.

    Args:
        temperature (float): Divisor of the cosines, > 0. Defaults to 0.2.
        loss_weight (float): Weight of the loss. Defaults to 0.1.
        across_processes (bool): Contrast the embeddings of all processes of a run.
            Defaults to True.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is
            negative.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        loss_weight: float = 0.1,
        across_processes: bool = True,
    ):
        super().__init__(temperature, loss_weight, across_processes)

    def select(self, targets: torch.Tensor) -> torch.Tensor:
        """Choose the known embeddings of all labels that have a pair.

        Args:
            targets (Tensor): ``(B, L)`` in {1, 0, -1}, or soft.

        Returns:
            Tensor: ``(B, L)`` bool.
        """
        numbers = is_present(targets).sum(dim=0)
        if self.across_processes:
            all_reduce(numbers)
        return super().select(targets) & (numbers > 1)

    def compute(
        self, embeddings: torch.Tensor, labels: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        """Loss of ``(N, D)`` embeddings.

        Args:
            embeddings (Tensor): ``(N, D)`` unit vectors of the selected labels.
            labels (Tensor): ``(N,)`` their labels.
            present (Tensor): ``(N,)`` bool, whether they are present.

        Returns:
            Tensor: A scalar, without ``loss_weight``.
        """
        return within_label_contrastive_loss(
            embeddings, labels, present, self.temperature, self.across_processes
        )
