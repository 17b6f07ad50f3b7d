# SPDX-License-Identifier: Apache-2.0
"""Put the rows of each label together."""

from typing import NamedTuple

import torch
from mmengine.dist import is_distributed

from ..utils.gather import RaggedGather
from .base import at_least_float32


class RowsOfLabels:
    """Arrange ``(N, ...)`` values of rows as ``(C, M, ...)``, one line per label.

    M is the largest number of rows of a label; lines are filled up with zeros.

    Args:
        index (Tensor): ``(N,)`` int64, the line of each row.
        num_lines (int): The number of lines C.
    """

    def __init__(self, index: torch.Tensor, num_lines: int):
        counts = index.bincount(minlength=num_lines)
        self.order = index.argsort(stable=True)
        self.lines = index[self.order]
        places = torch.arange(len(index), device=index.device)
        self.slots = places - (counts.cumsum(0) - counts)[self.lines]
        self.shape = (num_lines, int(counts.max()) if num_lines else 0)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Arrange ``(N, ...)`` values, with their gradient."""
        lines = rows.new_zeros(*self.shape, *rows.shape[1:])
        return lines.index_put((self.lines, self.slots), rows[self.order])


class KnownRows(NamedTuple):
    """Embeddings of known labels, one line per label.

    C labels with up to M embeddings each; free places hold zeros.

    Attributes:
        labels (Tensor): ``(C,)`` the label of each line, rising.
        embeddings (Tensor): ``(C, M, D)`` of at least float32. Those of this process
            have a gradient.
        known (Tensor): ``(C, M)`` bool, the places that are taken.
        present (Tensor): ``(C, M)`` bool, where the label is present.
        others (Tensor): ``(C, M, M)`` bool, for each place those taken by other images.
        world_size (int): The number of processes whose embeddings these are.
    """

    labels: torch.Tensor
    embeddings: torch.Tensor
    known: torch.Tensor
    present: torch.Tensor
    others: torch.Tensor
    world_size: int


def arrange_known(
    embeddings: torch.Tensor,
    labels: torch.Tensor,
    present: torch.Tensor,
    images: torch.Tensor | None = None,
    across_processes: bool = False,
) -> KnownRows:
    """Arrange the embeddings of a batch by their labels.

    Args:
        embeddings (Tensor): ``(N, D)`` of labels that are known.
        labels (Tensor): ``(N,)`` int64, the label of each embedding.
        present (Tensor): ``(N,)`` bool, whether the label is present.
        images (Tensor, optional): ``(N,)`` int64, the number of the image of each
            embedding, not negative. None takes each embedding of a label for another
            image. Defaults to None.
        across_processes (bool): Take the embeddings of all processes of the run. All of
            them must call the function. Defaults to False.

    Returns:
        KnownRows: The lines.

    Raises:
        ValueError: If the shapes disagree.
    """
    if images is None:
        images = torch.arange(len(embeddings), device=embeddings.device)
    shape = embeddings.shape[:1]
    if embeddings.ndim != 2 or any(x.shape != shape for x in (labels, present, images)):
        raise ValueError(
            'Expected embeddings (N, D), labels (N,), present (N,) and images (N,), '
            f'got {tuple(embeddings.shape)}, {tuple(labels.shape)}, '
            f'{tuple(present.shape)} and {tuple(images.shape)}.'
        )
    z = at_least_float32(embeddings)
    world_size = 1
    if across_processes and is_distributed():
        gather = RaggedGather(len(z), z.device)
        world_size = gather.world_size
        # Images of different processes have different numbers.
        images = images * world_size + gather.rank
        z, labels, present, images = (
            torch.cat([x, gather(x)]) for x in (z, labels, present, images)
        )
    names, index = labels.unique(return_inverse=True)
    rows = RowsOfLabels(index, len(names))
    known, image = rows(torch.ones_like(present)), rows(images)
    others = known[:, None] & (image[:, :, None] != image[:, None])
    return KnownRows(names, rows(z), known, rows(present), others, world_size)
