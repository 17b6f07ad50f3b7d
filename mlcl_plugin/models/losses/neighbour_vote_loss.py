# SPDX-License-Identifier: Apache-2.0
"""Train embeddings for the votes that neighbours give at inference."""

import math
from typing import NamedTuple

import torch
from mmengine.dist import all_reduce
from mmpretrain.registry import MODELS

from ...targets import is_absent, is_present
from ..utils.gather import scale_gradient
from .base import KnownLabelContrast, check_temperature
from .rows_of_labels import RowsOfLabels, arrange_known


class Remembered(NamedTuple):
    """Embeddings ``(K, D)`` of earlier batches, labels ``(K,)``, present ``(K,)``."""

    embeddings: torch.Tensor
    labels: torch.Tensor
    present: torch.Tensor


def neighbour_vote_loss(
    embeddings: torch.Tensor,
    labels: torch.Tensor,
    present: torch.Tensor,
    images: torch.Tensor | None = None,
    temperature: float = 0.05,
    remembered: Remembered | None = None,
    across_processes: bool = False,
) -> torch.Tensor:
    r"""Binary cross-entropy of the vote that the other images give on a label.

    For an anchor, image :math:`i` with known label :math:`l`, let :math:`O_{il}` be
    the embeddings of :math:`l` of all other images where it is known, in the batch and
    in memory, with targets :math:`t_{jl}`. Their vote is

    .. math::
        p_{il} = \sum_{j \in O_{il}} w_{ij}\, t_{jl}, \quad
        w_{ij} = \frac{\exp(z_{il} \cdot z_{jl} / \tau)}
        {\sum_{a \in O_{il}} \exp(z_{il} \cdot z_{al} / \tau)}

    and the loss is the mean of
    :math:`-t_{il} \log p_{il} - (1 - t_{il}) \log (1 - p_{il})` over all anchors,
    present and absent. An anchor without a present or without an absent other has no
    vote and no loss. This vote is that of :class:`LabelNeighbours` in which all
    entries vote, with the training images but one as its memory.

    Source: neighbourhood components analysis (`Goldberger et al., NIPS 2004
    <https://papers.nips.cc/paper/2566-neighbourhood-components-analysis>`_) with its
    logarithmic objective, for each label with the classes present and absent. The idea
    to do so with label-wise embeddings is this project's. Deviations: cosines instead
    of squared distances (of unit vectors these are :math:`2 - 2\cos`), a given
    temperature, and a batch with a memory instead of the training set.

    With ``across_processes`` the embeddings are those of all processes, and gradients
    after DDP are those of one process with the joined batch, see
    :func:`label_wise_contrastive_loss`. Memory is O(labels x images x (images +
    remembered)). Computed in float32 under any autocast (float64 stays float64).

    Args:
        embeddings (Tensor): ``(N, D)``, unit vectors of labels that are known.
        labels (Tensor): ``(N,)`` int64, the label of each embedding.
        present (Tensor): ``(N,)`` bool, whether the label is present.
        images (Tensor, optional): ``(N,)`` int64, the number of the image of each
            embedding, not negative. Embeddings of one image (its views) do not vote
            for one another. None takes each embedding of a label for another image.
            Defaults to None.
        temperature (float): :math:`\tau > 0`. Defaults to 0.05.
        remembered (Remembered, optional): Embeddings that vote and are no anchors,
            without gradient. In a run of several processes the same in all.
            Defaults to None.
        across_processes (bool): Take the embeddings of all processes. All of them must
            call the function. Defaults to False.

    Returns:
        Tensor: A scalar; 0 with a live graph where no anchor has a vote.

    Raises:
        ValueError: If the temperature is not a positive number, the shapes disagree, or
            remembered embeddings have another width.
    """
    check_temperature(temperature)
    with torch.autocast(embeddings.device.type, enabled=False):
        rows = arrange_known(embeddings, labels, present, images, across_processes)
        if not len(rows.labels):
            return embeddings.sum() * 0
        anchors, others, voters_present = rows.embeddings, rows.others, rows.present
        scores = anchors @ anchors.transpose(1, 2) / temperature
        if remembered is not None:
            _check_width(remembered, anchors.size(2))
            lines, memory_known, memory_present = _lines(
                remembered, rows.labels, anchors.dtype
            )
            more = anchors @ lines.transpose(1, 2) / temperature
            scores = torch.cat([scores, more], dim=2)
            others = torch.cat([others, memory_known[:, None].expand_as(more)], dim=2)
            voters_present = torch.cat([voters_present, memory_present], dim=1)
        same = others & (rows.present[:, :, None] == voters_present[:, None])
        # Rows without any would give -inf, and nan in the backward pass.
        active = rows.known & same.any(dim=2) & (others & ~same).any(dim=2)
        scores = scores[active]
        every = scores.masked_fill(~others[active], -math.inf).logsumexp(dim=1)
        right = scores.masked_fill(~same[active], -math.inf).logsumexp(dim=1)
        loss = (every - right).sum() / active.sum().clamp(min=1)
        return scale_gradient(loss, rows.world_size)


def _check_width(remembered: Remembered, width: int) -> None:
    if remembered.embeddings.ndim != 2 or remembered.embeddings.size(1) != width:
        raise ValueError(
            f'Expected remembered embeddings (K, {width}), as wide as those of the '
            f'batch, got {tuple(remembered.embeddings.shape)}. Set embed_dims of the '
            'memory to out_channels of the projector; without a projector, to '
            'in_channels of the head.'
        )


def _lines(
    remembered: Remembered, names: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Remembered rows of the labels ``names``: ``(C, K, D)``, with masks ``(C, K)``."""
    index = torch.searchsorted(names, remembered.labels.contiguous()).clamp(
        max=len(names) - 1
    )
    found = names[index] == remembered.labels
    rows = RowsOfLabels(index[found], len(names))
    present = remembered.present[found]
    vectors = remembered.embeddings[found].detach().to(dtype)
    return rows(vectors), rows(torch.ones_like(present)), rows(present)


@MODELS.register_module()
class NeighbourVoteLoss(KnownLabelContrast):
    """Train for the votes of neighbours, see :func:`neighbour_vote_loss`.

    A ``LabelWiseClsHead`` takes it instead of ``LabelWiseContrastiveLoss``. With
    ``projector=None`` of the head it compares the embeddings that
    :class:`LabelNeighbours` compares by default; with a projector, set
    ``source='projections'`` there. The temperatures of both must be equal:
    :class:`NeighbourClassifier` refuses others.

    Views of an image do not vote for one another. Soft targets, as Mixup makes, take
    no part.

    Args:
        temperature (float): Divisor of the cosines, > 0. Defaults to 0.05, as in
            :class:`LabelNeighbours`.
        loss_weight (float): Weight of the loss. Defaults to 0.5.
        across_processes (bool): Take the embeddings of all processes of a run.
            Defaults to True.
        memory (dict, optional): Config of a :class:`KnownLabelMemory` of earlier
            batches. Defaults to None.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is
            negative.
    """

    takes_images = True

    def __init__(
        self,
        temperature: float = 0.05,
        loss_weight: float = 0.5,
        across_processes: bool = True,
        memory: dict | None = None,
    ):
        super().__init__(temperature, loss_weight, across_processes, memory)

    def select(self, targets: torch.Tensor) -> torch.Tensor:
        """Choose the known embeddings, those of labels with a vote if none is kept.

        Args:
            targets (Tensor): ``(B, L)`` in {1, 0, -1}, or soft.

        Returns:
            Tensor: ``(B, L)`` bool.
        """
        known = super().select(targets)
        if self.memory is not None:
            return known
        numbers = torch.stack([is_present(targets), is_absent(targets)]).sum(dim=1)
        if self.across_processes:
            all_reduce(numbers)
        return known & (numbers > 0).all(dim=0)

    def compute(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        present: torch.Tensor,
        images: torch.Tensor | None = None,
        keys: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of ``(N, D)`` embeddings; in training the memory keeps them.

        Args:
            embeddings (Tensor): ``(N, D)`` unit vectors of the selected labels.
            labels (Tensor): ``(N,)`` their labels.
            present (Tensor): ``(N,)`` bool, whether they are present.
            images (Tensor, optional): ``(N,)`` the number of the image of each.
            keys (Tensor, optional): ``(N, D)`` of a momentum encoder, which the memory
                keeps instead of the embeddings. Defaults to None.

        Returns:
            Tensor: A scalar, without ``loss_weight``.
        """
        content = self.recall()
        remembered = None
        if content is not None:
            remembered = Remembered(content[0], *content[1].T)
            remembered = remembered._replace(present=is_present(remembered.present))
        loss = neighbour_vote_loss(
            embeddings,
            labels,
            present,
            images,
            self.temperature,
            remembered,
            self.across_processes,
        )
        self.remember(
            embeddings if keys is None else keys,
            torch.stack([labels, present.to(labels.dtype)], dim=1),
        )
        return loss
