# SPDX-License-Identifier: Apache-2.0
"""Image-level labels in memory: the type between all forms of files."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from mmpretrain.datasets import MultiLabelDataset
from scipy.sparse import csr_array

from ...targets import UNKNOWN, is_unknown
from ..annotation_files import check_classes
from ..dataset_targets import dataset_targets

UNKNOWN_AS = ('error', 'negative', 'drop')
Number = TypeVar('Number', bound=np.generic)


@dataclass(frozen=True, eq=False)
class ImageLabels:
    """Image-level labels of N images.

    Attributes:
        classes (tuple[str, ...]): L names of labels.
        images (tuple[str, ...]): N paths of images, relative to the image folder.
        targets (csr_array): ``(N, L)`` int8: 1 present, 0 absent, -1 unknown.

    Raises:
        ValueError: If there is no label or no image, or a name or path is empty,
            comes twice or has control characters such as line breaks.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    targets: csr_array

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError('There is no label, expected at least one.')
        if not self.images:
            raise ValueError('There is no image, expected at least one.')
        if self.targets.shape != (len(self.images), len(self.classes)):
            raise ValueError(
                f'targets must have the shape ({len(self.images)}, '
                f'{len(self.classes)}), images and labels, got {self.targets.shape}.'
            )
        _check_names('label name', self.classes)
        _check_names('image path', self.images)

    @classmethod
    def from_dataset(
        cls, dataset: MultiLabelDataset, prefix: str = ''
    ) -> 'ImageLabels':
        """Take the labels of a dataset.

        Args:
            dataset (MultiLabelDataset): A dataset that knows its classes.
            prefix (str): The start of the dataset's image paths that is left out.
                Defaults to ''.

        Returns:
            ImageLabels: One row per item, in the dataset's order.

        Raises:
            ValueError: If the dataset does not know its classes, or an item has no or
                malformed labels.
        """
        targets = dataset_targets(dataset)
        paths = [dataset.get_data_info(row)['img_path'] for row in range(len(dataset))]
        return cls(
            tuple(map(str, dataset.metainfo['classes'])),
            tuple(path.removeprefix(prefix) for path in paths),
            targets,
        )

    @property
    def num_unknown(self) -> int:
        """int: Number of unknown entries."""
        return int(is_unknown(self.targets.data).sum())

    def labels_of(self, image: int, value: int) -> list[int]:
        """Indices of the labels of an image that are 1 (present) or -1 (unknown)."""
        start, end = self.targets.indptr[image : image + 2]
        columns = self.targets.indices[start:end]
        return sorted(columns[self.targets.data[start:end] == value].tolist())

    def take(self, images: Sequence[int]) -> 'ImageLabels':
        """Take the images of the given indices, in the order of the indices."""
        chosen = tuple(self.images[i] for i in images)
        return replace(self, images=chosen, targets=self.targets[list(images)])

    def select(self, classes: Sequence[str]) -> 'ImageLabels':
        """Take some of the labels, in the order of their names.

        Args:
            classes (Sequence[str]): The names.

        Raises:
            ValueError: If a name is not among the labels or comes twice.
        """
        classes = check_classes(classes, self.classes)
        places = {name: place for place, name in enumerate(self.classes)}
        columns = [places[name] for name in classes]
        targets = self.targets.tocsc()[:, columns].tocsr()
        return replace(self, classes=classes, targets=targets)

    def without_unknown(self, unknown: str) -> 'ImageLabels':
        """Remove unknown labels, for forms that cannot hold them.

        Args:
            unknown (str): 'negative' takes unknown labels as absent, 'drop' leaves out
                all images that have one, and 'error' refuses them.

        Returns:
            ImageLabels: These labels themselves if none is unknown.

        Raises:
            ValueError: If ``unknown`` is 'error' and labels are unknown, or no image is
                left.
        """
        if unknown not in UNKNOWN_AS:
            raise ValueError(
                f"unknown must be 'error', 'negative' or 'drop', got {unknown!r}."
            )
        if self.num_unknown == 0:
            return self
        rows = np.unique(is_unknown(self.targets).nonzero()[0])
        if unknown == 'error':
            label = self.labels_of(rows[0], UNKNOWN)[0]
            raise ValueError(
                f'{self.num_unknown:,} labels of {len(rows):,} images are unknown (the '
                f"first: '{self.images[rows[0]]}', '{self.classes[label]}'), which "
                "this form cannot hold. Take them as absent (unknown='negative'), or "
                "leave these images out (unknown='drop')."
            )
        if unknown == 'drop':
            if len(rows) == len(self.images):
                raise ValueError(
                    f'All {len(self.images):,} images have unknown labels: without '
                    'them no image is left.'
                )
            return self.take(np.setdiff1d(np.arange(len(self.images)), rows).tolist())
        targets = self.targets.copy()
        targets.data = np.maximum(targets.data, 0)
        targets.eliminate_zeros()
        return replace(self, targets=targets)


def _join(parts: Sequence[np.ndarray], kind: type[Number]) -> np.ndarray:
    """Join arrays, none at all included."""
    return np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)


def _check_names(what: str, names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f'Expected a {what}, got {name!r}.')
        if any(unicodedata.category(character) in ('Cc', 'Cs') for character in name):
            raise ValueError(
                f'The {what} {name!r} has control characters, such as a line break or '
                'a tab, or is no valid Unicode. Rename it.'
            )
        if name in seen:
            raise ValueError(f"The {what} '{name}' comes twice, expected it once.")
        seen.add(name)
