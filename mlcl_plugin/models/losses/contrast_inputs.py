# SPDX-License-Identifier: Apache-2.0
"""What a head hands to a contrastive loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...targets import is_absent
from ..utils.gather import RaggedGather


@dataclass(frozen=True)
class Projections:
    """Projections of a batch, computed when a loss asks for them.

    Args:
        images (Callable): Returns the unit vectors ``(B, P)`` of all images.
        labels (Callable): Takes images ``(N,)`` and labels ``(N,)`` and returns the
            unit vectors ``(N, P)`` of these labels in these images. A head with one
            vector per image raises a ``ValueError`` here.
    """

    images: Callable[[], Tensor]
    labels: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ContrastInputs:
    """A batch as a contrastive loss sees it: B images or views, L labels.

    Args:
        targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.
        logits (Tensor): ``(B, L)``.
        projections (Projections): Of the head, with gradient.
        keys (Projections, optional): Of a momentum encoder. None if there is none.
            Defaults to None.
        min_size (int): The number of embeddings up to which the hardest absent labels
            fill the denominators (``min_contrast_size`` of the head). Defaults to 0.
        images (Tensor, optional): ``(B,)`` int64, the number of the image that each
            row shows. None if each row shows another one. Defaults to None.
    """

    targets: Tensor
    logits: Tensor
    projections: Projections
    keys: Projections | None = None
    min_size: int = 0
    images: Tensor | None = None

    def image_numbers(self) -> Tensor:
        """The number ``(B,)`` of the image that each row shows."""
        if self.images is None:
            return torch.arange(len(self.targets), device=self.targets.device)
        return self.images

    @torch.no_grad()
    def image_keys(self) -> Tensor | None:
        """Keys ``(B, P)`` of all images, without gradient; None if there are none."""
        return None if self.keys is None else self.keys.images()

    @torch.no_grad()
    def label_keys(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """Keys ``(N, P)`` of labels in images, without gradient; None as above."""
        return None if self.keys is None else self.keys.labels(images, labels)

    def hardest_absent(
        self, num_present: int, across_processes: bool
    ) -> tuple[Tensor, Tensor]:
        """Images and labels ``(M,)`` of the absent labels with the largest logits.

        M is what ``num_present`` embeddings lack of ``min_size``, or the number of
        absent labels if that is smaller.

        Args:
            num_present (int): Number of present labels of this process.
            across_processes (bool): Count and compare over all processes. Each process
                gets its own among the hardest of all.
        """
        logits, absent = self.logits.detach().flatten(), is_absent(self.targets)
        absent = absent.flatten()
        if across_processes:
            num_present = RaggedGather(num_present, logits.device).total
        missing = max(self.min_size - num_present, 0)
        values, places = logits.where(absent, -torch.inf).topk(
            min(missing, int(absent.sum()))
        )
        if across_processes:
            gather = RaggedGather(len(values), values.device)
            # All processes sort alike, ties by rank.
            order = gather.all(values).argsort(descending=True, stable=True)[:missing]
            first = sum(gather.counts[: gather.rank])
            order = order[(order >= first) & (order < first + len(values))]
            places = places[order - first]
        num_classes = self.targets.size(1)
        return places // num_classes, places % num_classes
