# SPDX-License-Identifier: Apache-2.0
"""Batches of images of one size, in the order of the inputs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import default_collate
from torch import Tensor
from torch.utils.data import DataLoader

from .reader import Item, Reader, init_worker
from .sources import Source


class Batch(NamedTuple):
    """Images in the order of the inputs, and those that were read, grouped by size.

    ``groups`` are indices into ``items`` and the data that the model takes for them.
    """

    items: list[Item]
    groups: list[tuple[list[int], dict]]


def chunk(sources: Iterable[Source], size: int) -> Iterator[list[Source]]:
    """Split sources into lists of ``size``; the last one may be shorter."""
    batch: list[Source] = []
    for source in sources:
        batch.append(source)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def collate(items: list[Item]) -> Batch:
    """Stack the images of each size.

    Images are never padded to a common size: the scores of an image would depend on the
    others in its batch.
    """
    places: dict[Any, list[int]] = {}
    data: dict[int, dict] = {}
    for place, item in enumerate(items):
        if item.data is not None:
            inputs = item.data.get('inputs')
            shape = inputs.shape if isinstance(inputs, Tensor | np.ndarray) else None
            places.setdefault(shape, []).append(place)
            data[place] = item.data
    groups = [
        (group, default_collate([data[place] for place in group]))
        for group in places.values()
    ]
    for item in items:
        item.data = None
        if isinstance(item.source.image, np.ndarray):
            # Workers need not send the pixels back.
            item.source = item.source._replace(image='')
    return Batch(items, groups)


def read_batches(
    pipeline: Sequence[BaseTransform],
    sources: Iterable[Source],
    batch_size: int = 1,
    num_workers: int = 0,
    pictures: bool = False,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Read images and pass them through the pipeline, batch by batch.

    Args:
        pipeline (Sequence[BaseTransform]): See :func:`build_pipeline`.
        sources (Iterable[Source]): The images.
        batch_size (int): Images in a batch. Defaults to 1.
        num_workers (int): Processes that read; 0 reads in this one. Defaults to 0.
        pictures (bool): Whether to keep a small copy of each image. Defaults to False.
        pin_memory (bool): Whether to put batches into pinned memory.
            Defaults to False.

    Yields:
        Batch: What was read.
    """
    yield from DataLoader(
        Reader(pipeline, pictures),
        batch_sampler=chunk(sources, batch_size),
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=init_worker,
        pin_memory=pin_memory,
    )
