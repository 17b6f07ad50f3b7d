# SPDX-License-Identifier: Apache-2.0
"""Folders of photographs that carry their own labels.

Two forms: a folder per label, and a folder of images with a ``metadata.jsonl``.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from ..plain_text import brief, list_some
from ..targets import ABSENT, PRESENT, UNKNOWN
from .annotation_files import check_classes, decode_json
from .forms.image_labels import ImageLabels

METADATA = 'metadata.jsonl'
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif')
FILE_KEYS = ('file_name', 'image')
NAME_KEYS = ('labels', 'label')
VALUES = {True: PRESENT, False: ABSENT, None: UNKNOWN}


def read_label_folders(
    root: str | Path, classes: Sequence[str] | None = None
) -> ImageLabels:
    """Read a folder that has a folder of images for each label.

    A photograph with several labels lies in several folders, under the same name and
    with the same content. The labels of a photograph are the folders that it lies in;
    all others are absent.

    Args:
        root (str | Path): The folder.
        classes (Sequence[str], optional): The labels to take, which are names of
            folders, in the order of their index. Defaults to None: all, sorted.

    Returns:
        ImageLabels: Images are named by their first path, relative to ``root``.

    Raises:
        ValueError: If there is no folder with images, or files of one name in two
            folders differ.
    """
    root = Path(root)
    found = {
        folder.name: images
        for folder in sorted(root.iterdir())
        if folder.is_dir() and (images := _images_of(folder))
    }
    if not found:
        raise ValueError(
            f"'{root}' has no folder with images, expected one folder per label, such "
            f'as {root.name}/dog/001.jpg.'
        )
    if classes is not None:
        found = {name: found[name] for name in check_classes(classes, tuple(found))}
    first: dict[str, Path] = {}
    labels: dict[str, list[int]] = defaultdict(list)
    for index, (name, images) in enumerate(found.items()):
        for image in images:
            key = image.relative_to(root / name).as_posix()
            if key not in first:
                first[key] = image
            elif not _same_content(first[key], image):
                raise ValueError(
                    f"'{first[key]}' and '{image}' have the same name, but not the "
                    'same content. A photograph with several labels lies in several '
                    'folders as a copy; rename one of the two if they are different '
                    'photographs.'
                )
            labels[key].append(index)
    targets = np.zeros((len(first), len(found)), np.int8)
    for row, key in enumerate(first):
        targets[row, labels[key]] = PRESENT
    paths = tuple(path.relative_to(root).as_posix() for path in first.values())
    return ImageLabels(tuple(found), paths, csr_array(targets))


def read_metadata(
    root: str | Path, classes: Sequence[str] | None = None
) -> ImageLabels:
    """Read ``metadata.jsonl`` in a folder of images.

    Each line is a JSON object with the path of an image in ``file_name`` and its
    labels: names in ``labels`` (a list) or ``label`` (one name), or else a key per
    label with 1 or true, 0 or false, or null (unknown).

    Args:
        root (str | Path): The folder.
        classes (Sequence[str], optional): The labels to take. Defaults to None: all
            that occur, sorted names, or keys in their order.

    Returns:
        ImageLabels: Images are named by their paths relative to ``root``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is wrong.
    """
    path = Path(root) / METADATA
    images, rows = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            where = f'{path}, line {number}'
            name, row = _read_line(decode_json(line, where), where)
            images.append(name)
            rows.append(row)
    if not rows:
        raise ValueError(f'{path} names no image.')
    kinds = {isinstance(row, dict) for row in rows}
    if len(kinds) > 1:
        raise ValueError(
            f"{path} has lines with 'labels' and lines without. Use one form."
        )
    if isinstance(rows[0], dict):
        names = list(dict.fromkeys(key for row in rows for key in row))
    else:
        names = sorted({name for row in rows for name in row})
    if classes is not None:
        names = list(check_classes(classes, tuple(names)))
    if not names:
        raise ValueError(f'{path} names no label.')
    places = {name: place for place, name in enumerate(names)}
    targets = np.zeros((len(rows), len(names)), np.int8)
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            targets[index] = [row.get(name, UNKNOWN) for name in names]
        else:
            targets[index, [places[name] for name in row if name in places]] = PRESENT
    return ImageLabels(tuple(names), tuple(images), csr_array(targets))


def _images_of(folder: Path) -> list[Path]:
    """All images in a folder and the folders inside it, sorted."""
    return sorted(
        Path(where, name)
        for where, _, files in os.walk(folder)
        for name in files
        if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    )


def _same_content(first: Path, second: Path) -> bool:
    if first.stat().st_size != second.stat().st_size:
        return False
    if first.samefile(second):
        return True
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in (first, second)]
    return digests[0] == digests[1]


def _read_line(content: object, where: str) -> tuple[str, list[str] | dict[str, int]]:
    """The path of an image, and its names, or its target by label."""
    if not isinstance(content, dict):
        raise ValueError(f'{where} holds {brief(content)}, expected a JSON object.')
    keys = [key for key in FILE_KEYS if isinstance(content.get(key), str)]
    if not keys:
        raise ValueError(
            f"{where} has no 'file_name', the path of the image. It has the keys "
            f'{list_some(list(content))}.'
        )
    rest = {key: value for key, value in content.items() if key != keys[0]}
    given = [key for key in NAME_KEYS if key in rest]
    if given:
        names = rest[given[0]]
        names = [names] if isinstance(names, str) else names or []
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(
                f"{where}: '{given[0]}' must be a name or a list of names, got "
                f'{brief(names)}.'
            )
        return content[keys[0]], names
    targets = {}
    for key, value in rest.items():
        if isinstance(value, str | list | dict) or value not in VALUES:
            raise ValueError(
                f"{where}: '{key}' must be 1, 0, true, false or null, got "
                f"{brief(value)}. Or name the labels of an image in 'labels'."
            )
        targets[key] = VALUES[value]
    return content[keys[0]], targets
