# SPDX-License-Identifier: Apache-2.0
"""Divide photographs for training, validation and test."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..datasets.forms import ImageLabels
from ..datasets.forms.parts import divide
from ..plain_text import list_some
from .read_data import PART_NAMES, Photographs, read_photographs

DEFAULT_VAL = 0.2
"""Share of the images for validation, if no part of the data is meant for it."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Photographs of each part.

    Attributes:
        root (Path): The folder of all images.
        parts (dict[str, ImageLabels]): ``train``, ``val`` and perhaps ``test``; paths
            are relative to ``root``.
        divided (bool): Whether the validation images were drawn from the others.
        notes (list[str]): What is worth knowing about the division.
    """

    root: Path
    parts: dict[str, ImageLabels]
    divided: bool
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """tuple[str, ...]: The labels."""
        return self.parts['train'].classes


def split_photographs(
    data: Photographs,
    val: str | Path | float | None = None,
    test: str | Path | None = None,
    images: str | Path | None = None,
    seed: int = 0,
) -> Parts:
    """Take the parts that the data has, read others, and divide what is left.

    Args:
        data (Photographs): The photographs that were named first.
        val (str | Path | float, optional): Other photographs for validation, or the
            share of the training images to draw. Defaults to None: the validation part
            of the data, or else a share of 0.2.
        test (str | Path, optional): Photographs for test. Defaults to None: the test
            part of the data, if there is one.
        images (str | Path, optional): The folder of the images of ``val`` and ``test``.
        seed (int): Seed of the division. Defaults to 0.

    Returns:
        Parts: All parts. What is drawn keeps the images of a group in one part, with
        ``groups`` of the data, or else files of the same bytes.

    Raises:
        FileNotFoundError: If a file or an image is missing.
        ValueError: If parts have other labels, share images, or there are too few.
    """
    found: dict[str, ImageLabels] = {}
    for name in ('train', 'val', 'test'):
        part = data.take(name)
        if part is not None:
            found[name] = part
    if 'train' not in found:
        raise ValueError(f'{data.source} has no training images.')
    roots = dict.fromkeys(found, data.root)
    for name, source in (('val', val), ('test', test)):
        if source is None or isinstance(source, int | float):
            continue
        if name in found:
            raise ValueError(
                f'{data.source} has a part for {name} of its own, so {name}={source} '
                'would be a second one. Leave out one of both.'
            )
        other = read_photographs(source, images, found['train'].classes)
        found[name], roots[name] = other.labels, other.root
    notes: list[str] = []
    divided = 'val' not in found
    if not divided and isinstance(val, int | float):
        raise ValueError(
            f'{data.source} has a part for validation of its own, so val={val} has no '
            'use. Leave it out.'
        )
    if divided:
        share = float(val) if isinstance(val, int | float) else DEFAULT_VAL
        rows = np.flatnonzero(data.parts == 'train')
        groups = None if data.groups is None else data.groups[rows]
        if groups is None:
            groups, kept = _groups_of_copies(data.root, found['train'].images)
        else:
            kept = [f'{len(np.unique(groups)):,} groups are kept together']
        train, own, notes = _divide(found['train'], share, seed, groups)
        notes += kept
        found['train'], found['val'] = train, own
        roots['val'] = roots['train']
    root = Path(os.path.commonpath([str(folder) for folder in roots.values()]))
    joined = {name: below(found[name], roots[name], root) for name in found}
    order = {name: joined[name] for name in PART_NAMES if name in joined}
    _check_overlap(order)
    return Parts(root, order, divided, notes)


def _groups_of_copies(
    root: Path, images: Sequence[str]
) -> tuple[np.ndarray | None, list[str]]:
    """A group for each image, equal for files of the same bytes, and a note on these.

    Without copies there are no groups.
    """
    sizes = [(root / image).stat().st_size for image in images]
    number_of = Counter(sizes)
    groups = np.arange(len(images))
    first: dict[bytes, int] = {}
    for row, (image, size) in enumerate(zip(images, sizes)):
        if number_of[size] > 1:
            with open(root / image, 'rb') as file:
                digest = hashlib.file_digest(file, 'sha256').digest()
            groups[row] = first.setdefault(digest, row)
    number = int((groups != np.arange(len(images))).sum())
    if not number:
        return None, []
    return groups, [
        f'{number:,} of {len(images):,} images are copies of another (same bytes). '
        'They are in the same part'
    ]


def _divide(
    labels: ImageLabels, share: float, seed: int, groups: np.ndarray | None
) -> tuple[ImageLabels, ImageLabels, list[str]]:
    """Training and validation images, and what could not be met."""
    names = None if groups is None else groups.tolist()
    parts, split = divide(labels, val=share, seed=seed, groups=names)
    return parts['train'], parts['val'], split.warnings()


def below(labels: ImageLabels, folder: Path, root: Path) -> ImageLabels:
    """The same labels with paths relative to ``root`` instead of ``folder``."""
    if folder == root:
        return labels
    paths = [os.path.relpath(folder / image, root) for image in labels.images]
    return ImageLabels(labels.classes, tuple(paths), labels.targets)


def _check_overlap(parts: dict[str, ImageLabels]) -> None:
    """Refuse images that are in two parts."""
    names: Sequence[str] = list(parts)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            both = sorted(set(parts[first].images) & set(parts[second].images))
            if both:
                raise ValueError(
                    f'{len(both):,} images are in both {first} and {second}, such as '
                    f'{list_some(both, 1)}: results on them would tell nothing about '
                    'new images. Take them out of one part.'
                )
