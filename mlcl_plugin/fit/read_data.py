# SPDX-License-Identifier: Apache-2.0
"""Read photographs with their labels in whatever form they have."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.forms import ImageLabels, guess_form, read_labels
from ..datasets.forms.groups import read_groups
from ..datasets.label_folders import METADATA, read_label_folders, read_metadata
from ..datasets.table import open_table
from ..datasets.tabular_multi_label import find_label_column
from ..local_files import check_regular
from ..plain_text import list_some

IMAGE_COLUMNS = ('image', 'file_name', 'filename', 'path', 'img_path', 'file')
SPLIT_COLUMN = 'split'
OTHER_SEPARATORS = (';', '\t', '|', ',')
PART_NAMES = {
    'train': ('train', 'training'),
    'val': ('val', 'valid', 'validation', 'dev'),
    'test': ('test', 'testing'),
}
"""What people call the three parts."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs with labels, as one source names them.

    Attributes:
        labels (ImageLabels): Paths are relative to ``root``, or absolute.
        root (Path): The folder of the images, absolute.
        parts (np.ndarray): ``(N,)`` the part of each image as the source says: train,
            val or test; all train where it says nothing.
        groups (np.ndarray, optional): ``(N,)`` what must not be divided.
        source (str): What was read, for messages.
    """

    labels: ImageLabels
    root: Path
    parts: np.ndarray
    groups: np.ndarray | None
    source: str

    def take(self, part: str) -> ImageLabels | None:
        """The images of a part; None if there is none."""
        rows = np.flatnonzero(self.parts == part)
        return self.labels.take(rows.tolist()) if len(rows) else None


def read_photographs(
    source: str | Path,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    group: str | None = None,
) -> Photographs:
    """Read photographs with their labels.

    Args:
        source (str | Path): A table, a JSON in the form of COCO or MMPretrain, a folder
            in the form of VOC, a folder of images with ``metadata.jsonl``, a folder
            with one folder per label, or one that has such folders in ``train``,
            ``val`` and ``test``.
        images (str | Path, optional): The folder of the images. Defaults to None: where
            they are found.
        classes (Sequence[str], optional): The labels to take. Defaults to None: all.
        group (str, optional): The column of a table that says what must not be
            divided. Defaults to None.

    Returns:
        Photographs: What was read.

    Raises:
        FileNotFoundError: If there is no such file or folder, or images are missing.
        ValueError: If it has no known form.
    """
    path = Path(source)
    check_regular(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no '{path}', expected a table, a JSON file or a folder."
        )
    groups = None
    if path.is_dir():
        if group is not None:
            raise ValueError(
                f"group='{group}' names a column of a table, but '{path}' is a folder."
            )
        labels, parts, folder = _read_folder(path, classes)
        roots = [folder]
    elif guess_form(path) == 'table':
        labels, parts, groups = _read_table(path, classes, group)
        roots = [path.parent, *_image_folders(path.parent), Path()]
    else:
        if group is not None:
            raise ValueError(
                f"group='{group}' names a column of a table, but '{path}' is a JSON."
            )
        labels = read_labels(path, classes=classes)
        parts = np.full(len(labels.images), 'train')
        roots = [
            *_coco_folders(path),
            path.parent,
            *_image_folders(path.parent),
            Path(),
        ]
    root = _find_root(labels, roots, images, path)
    return Photographs(labels, root, parts, groups, str(source))


def part_of(name: str) -> str | None:
    """Which part a name means; None if none.

    Examples:
        >>> part_of('Validation'), part_of('dogs')
        ('val', None)
    """
    plain = name.strip().lower()
    return next((part for part, names in PART_NAMES.items() if plain in names), None)


def _read_folder(
    path: Path, classes: Sequence[str] | None
) -> tuple[ImageLabels, np.ndarray, Path]:
    """Labels, parts and image folder of a folder."""
    lists = path / 'ImageSets' / 'Main'
    if lists.is_dir():
        splits = {n: n for n in PART_NAMES if (lists / f'{n}.txt').is_file()}
        read = {
            p: read_labels(path, split=s, classes=classes) for p, s in splits.items()
        }
        return *_join(read, path), path / 'JPEGImages'
    inside = {
        part: folder
        for folder in sorted(path.iterdir())
        if folder.is_dir() and (part := part_of(folder.name)) is not None
    }
    annotations = sorted(path.glob('annotations/*.json'))
    if annotations and not (path / METADATA).is_file():
        raise ValueError(
            f"'{path}' has annotations in the form of COCO or MMPretrain. Name the "
            f"file in place of the folder, such as '{annotations[0]}'."
        )
    if 'train' not in inside:
        read = {'train': _read_plain_folder(path, classes)}
        return *_join(read, path), path
    if classes is None:
        # The parts of one data set may lack labels that others have.
        known = [_read_plain_folder(folder, None).classes for folder in inside.values()]
        classes = sorted({name for names in known for name in names})
    read = {}
    for part, folder in inside.items():
        own = _read_plain_folder(folder, None)
        read[part] = _with_classes(own, classes, folder.name)
    return *_join(read, path), path


def _read_plain_folder(path: Path, classes: Sequence[str] | None) -> ImageLabels:
    if (path / METADATA).is_file():
        return read_metadata(path, classes)
    return read_label_folders(path, classes)


def _with_classes(
    labels: ImageLabels, classes: Sequence[str], folder: str
) -> ImageLabels:
    """Labels of a part's folder by the names of all parts, absent where it has none."""
    targets = np.zeros((len(labels.images), len(classes)), np.int8)
    places = {name: place for place, name in enumerate(classes)}
    dense = labels.targets.toarray()
    for column, name in enumerate(labels.classes):
        if name in places:
            targets[:, places[name]] = dense[:, column]
    images = tuple(f'{folder}/{image}' for image in labels.images)
    return ImageLabels(tuple(classes), images, type(labels.targets)(targets))


def _separator_hint(path: Path, columns: Sequence[str]) -> str:
    """How to mend a table that is separated by something else than its suffix says."""
    found = [mark for mark in OTHER_SEPARATORS if mark in columns[0]]
    if len(columns) > 1 or not found:
        return ''
    new = path.with_name(f'{path.stem}_commas.csv')
    command = shlex.join(
        ['mlcl', 'convert', str(path), str(new), '--delimiter', found[0]]
    )
    return f' Its separator seems to be {found[0]!r}. Write it anew: {command}'


def _read_table(
    path: Path, classes: Sequence[str] | None, group: str | None
) -> tuple[ImageLabels, np.ndarray, np.ndarray | None]:
    """Labels, parts and groups of a table."""
    with open_table(str(path)) as table:
        columns = list(table.columns)
        image_column = next((c for c in IMAGE_COLUMNS if c in columns), None)
        if image_column is None:
            raise ValueError(
                f'{path} has no column of image paths, expected one of '
                f'{list(IMAGE_COLUMNS)}, got {list_some(columns)}.'
                + _separator_hint(path, columns)
            )
        if group is not None and group not in columns:
            raise ValueError(
                f"{path} has no column group='{group}', it has {list_some(columns)}."
            )
        extra = [c for c in (SPLIT_COLUMN, group) if c is not None and c in columns]
        if classes is not None:
            extra = [c for c in extra if c not in classes or c == group]
        cells: dict[str, list] = {c: [] for c in (image_column, *extra)}
        for _, row in table.rows(list(cells)):
            for column, cell in zip(cells, row):
                cells[column].append(cell)
    if extra and classes is None and find_label_column(columns) is None:
        classes = [c for c in columns if c not in (image_column, *extra)]
    labels = read_labels(path, classes=classes, image_column=image_column)
    parts = np.full(len(labels.images), 'train')
    if SPLIT_COLUMN in extra:
        parts = np.array([_read_part(cell, path) for cell in cells[SPLIT_COLUMN]])
    groups = None
    if group is not None:
        groups = np.array(read_groups(path, labels.images, group, image_column))
    return labels, parts, groups


def _read_part(cell: object, path: Path) -> str:
    part = part_of(str(cell))
    if part is None:
        raise ValueError(
            f"{path}: the column '{SPLIT_COLUMN}' holds {cell!r}, expected train, val "
            'or test.'
        )
    return part


def _join(read: dict[str, ImageLabels], path: Path) -> tuple[ImageLabels, np.ndarray]:
    """Join the images of parts."""
    if 'train' not in read:
        raise ValueError(f"'{path}' has no list or folder of training images, 'train'.")
    first = read['train']
    for part, labels in read.items():
        if labels.classes != first.classes:
            raise ValueError(f"'{path}': {part} has other labels than train.")
    targets = np.concatenate([labels.targets.toarray() for labels in read.values()])
    images = [image for labels in read.values() for image in labels.images]
    parts = np.repeat(list(read), [len(labels.images) for labels in read.values()])
    joined = ImageLabels(first.classes, tuple(images), type(first.targets)(targets))
    return joined, parts


def _image_folders(folder: Path) -> Iterator[Path]:
    """Folders that usually hold the images of a table."""
    for name in ('images', 'imgs', 'photos', 'img', 'JPEGImages'):
        if (folder / name).is_dir():
            yield folder / name


def _coco_folders(path: Path) -> Iterator[Path]:
    """``root/train2017`` for ``root/annotations/instances_train2017.json``."""
    name = re.sub('^[a-z]+_', '', path.stem)
    for folder in (path.parent.parent / name, path.parent / name):
        if folder.is_dir():
            yield folder


def _find_root(
    labels: ImageLabels,
    roots: Sequence[Path],
    given: str | Path | None,
    source: Path,
) -> Path:
    """The folder that has the images.

    Raises:
        FileNotFoundError: If none has them.
    """
    if given is not None:
        roots = [Path(given)]
    found = []
    for root in roots:
        number = sum((root / image).is_file() for image in labels.images)
        if number == len(labels.images):
            return root.absolute()
        found.append((number, root))
    number, root = max(found, key=lambda pair: pair[0])
    missing = [i for i in labels.images if not (root / i).is_file()]
    tried = ', '.join(f"'{item}'" for item in roots)
    raise FileNotFoundError(
        f'{len(missing):,} of the {len(labels.images):,} images of {source} are '
        f"missing, the first is '{root / missing[0]}'. Looked in {tried}. Name the "
        'folder of the images: images=DIR.'
    )
