# SPDX-License-Identifier: Apache-2.0
"""FiftyOne: ``labels.json`` of its image classification datasets, and its samples.

The first is what ``dataset.export(dataset_type=FiftyOneImageClassificationDataset)``
writes and ``Dataset.from_dir`` reads: labels by the paths of images without their
endings, with the images in a folder ``data`` or named in ``data.json`` beside it. The
second is what ``dataset.write_json`` and ``FiftyOneDataset`` write, which is only read.
FiftyOne itself is not needed.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from scipy.sparse import csr_array

from ...image_suffixes import IMAGE_SUFFIXES
from ...plain_text import brief, list_some
from ...targets import ABSENT, PRESENT, UNKNOWN
from ..annotation_files import check_classes, decode_json
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels

Row = tuple[str, list[str] | None]
"""An image, and the names of its labels; None if nothing is said of it."""


class FiftyOneForm(Form):
    """FiftyOne's JSON of image classification. It cannot hold unknown labels."""

    name = 'fiftyone'
    looks = "FiftyOne's JSON (keys 'classes', 'labels', or a list 'samples')"
    suffix = '.json'
    after_writing = (
        'To import into FiftyOne: fiftyone.Dataset.from_dir(dataset_dir=FOLDER, '
        'dataset_type=fiftyone.types.FiftyOneImageClassificationDataset), with '
        "data_path='data.json' and labels_path=FILE as needed."
    )

    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a JSON file has FiftyOne's keys."""
        return keys is not None and (keys == {'classes', 'labels'} or 'samples' in keys)

    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read all images.

        FiftyOne writes ``null`` for images that nobody labelled and for those without a
        label alike: their labels are unknown, or absent with ``unstated_as=0``.
        """
        content = decode_json(path.read_bytes(), str(path))
        if not isinstance(content, dict):
            raise ValueError(f'{path} is {brief(content)}, expected an object.')
        listed = None
        if 'samples' in content:
            rows = list(_read_samples(content['samples'], path, options))
        else:
            listed = _read_classes(content.get('classes'), path)
            rows = list(_read_labels(content.get('labels'), listed, path))
        return _join(rows, listed, path, options)

    def holds_unknown(self, options: WriteOptions) -> bool:
        """An image has a label or not."""
        return False

    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Make the JSON and, with ``image_root``, the paths of the images beside it."""
        paths = {str(PurePosixPath(x).with_suffix('')): x for x in labels.images}
        if len(paths) < len(labels.images):
            twice = next(
                x
                for x in labels.images
                if paths[str(PurePosixPath(x).with_suffix(''))] != x
            )
            raise ValueError(
                f"FiftyOne tells images apart by their names without endings, and '"
                f"{twice}' differs from another one by its ending only. Rename it."
            )
        content = dict(
            classes=list(labels.classes),
            labels={
                name: labels.labels_of(row, PRESENT) for row, name in enumerate(paths)
            },
        )
        files = [(path, msgspec.json.encode(content))]
        if options.image_root is not None:
            root = os.path.abspath(options.image_root)
            places = {name: os.path.join(root, x) for name, x in paths.items()}
            files.append((path.with_name('data.json'), msgspec.json.encode(places)))
        return lambda: files

    def dataset_config(self, path: str, options: WriteOptions) -> dict | None:
        """None: no training reads it. Convert it to a table."""
        return None


def _read_classes(classes: object, path: Path) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if not isinstance(classes, list):
        raise ValueError(
            f"{path}: 'classes' is {brief(classes)}, expected a list of names or null."
        )
    return check_classes(classes)


def _read_labels(
    labels: object, classes: Sequence[str] | None, path: Path
) -> Iterator[Row]:
    """The labels of ``labels.json``."""
    if not isinstance(labels, dict):
        raise ValueError(
            f"{path}: 'labels' is {brief(labels)}, expected an object of the labels by "
            'image.'
        )
    files = _image_files(path)
    for key, value in labels.items():
        if key not in files:
            raise ValueError(
                f'{path} has labels of {brief(key)}, but there is no such image in '
                f"'{path.parent / 'data'}' or data.json beside it, which must say how "
                'the names of the files end. Put the images there, or name them in '
                '{"NAME": "PATH"} in data.json.'
            )
        where = f"{path}, '{key}'"
        yield files[key], None if value is None else _names(value, classes, where)


def _image_files(path: Path) -> dict[str, str]:
    """Paths of images by the same without their endings."""
    named = path.with_name('data.json')
    if named.is_file():
        found = decode_json(named.read_bytes(), str(named))
        try:
            places = msgspec.convert(found, dict[str, str])
        except msgspec.ValidationError as error:
            raise ValueError(
                f'{named} does not give a path for each image: {error}'
            ) from error
        return {
            key: key + PurePosixPath(place.replace('\\', '/')).suffix
            for key, place in places.items()
        }
    folder = path.with_name('data')
    files = [p.relative_to(folder) for p in sorted(folder.rglob('*'))]
    return {
        file.with_suffix('').as_posix(): file.as_posix()
        for file in files
        if file.suffix.lower() in IMAGE_SUFFIXES
    }


def _names(value: Any, classes: Sequence[str] | None, where: str) -> list[str]:
    """Names of labels: of one or of a list of names, indices, or objects with them."""
    names = []
    for item in value if isinstance(value, list) else [value]:
        name = item.get('label') if isinstance(item, dict) else item
        if isinstance(name, int) and classes is not None and 0 <= name < len(classes):
            name = classes[name]
        if not isinstance(name, str):
            expected = 'a name' if classes is None else f'an index below {len(classes)}'
            raise ValueError(
                f'{where} has the label {brief(item)}, expected {expected}.'
            )
        names.append(name)
    return names


def _read_samples(samples: object, path: Path, options: ReadOptions) -> Iterator[Row]:
    """The labels of FiftyOne's samples, of the only field that has some."""
    if not isinstance(samples, list) or not all(isinstance(x, dict) for x in samples):
        raise ValueError(f"{path}: 'samples' is not a list of objects.")
    fields = sorted({key for x in samples for key, v in x.items() if _is_label(v)})
    field = options.control
    if field is None and len(fields) > 1:
        raise ValueError(
            f'{path} has {len(fields)} fields with classifications, '
            f'{list_some(fields)}: name the one that holds the labels, such as control='
            f"'{fields[0]}'."
        )
    if field is None and not fields or field is not None and field not in fields:
        raise ValueError(
            f'{path} has no classifications'
            + ('' if field is None else f" in control='{field}'")
            + f', expected some in a field of its samples, got {list_some(fields)}.'
        )
    field = field or fields[0]
    places = []
    for number, sample in enumerate(samples):
        place = sample.get('filepath')
        if not isinstance(place, str) or not place:
            raise ValueError(
                f'{path}, sample {number + 1} has the filepath {brief(place)}, '
                'expected a path.'
            )
        places.append(place.replace('\\', '/'))
    root = os.path.commonpath([os.path.dirname(place) for place in places] or [''])
    for number, (sample, place) in enumerate(zip(samples, places)):
        value = sample.get(field)
        if isinstance(value, dict) and value.get('_cls') == 'Classifications':
            value = value.get('classifications') or []
        where = f'{path}, sample {number + 1}'
        image = os.path.relpath(place, root) if root else place
        yield image, None if value is None else _names(value, None, where)


def _is_label(value: object) -> bool:
    return isinstance(value, dict) and value.get('_cls') in (
        'Classification',
        'Classifications',
    )


def _join(
    rows: Sequence[Row],
    listed: tuple[str, ...] | None,
    path: Path,
    options: ReadOptions,
) -> ImageLabels:
    """Number the labels."""
    found = sorted({name for _, names in rows for name in names or ()})
    classes = listed or tuple(found)
    if options.classes is not None:
        classes = check_classes(options.classes)
    others = sorted(set(found).difference(classes))
    if others:
        raise ValueError(
            f'{path} has the labels {list_some(others)}, expected some of the '
            f'{len(classes)} classes {list_some(classes)}.'
        )
    index = {name: label for label, name in enumerate(classes)}
    unstated = UNKNOWN if options.unstated_as is None else options.unstated_as
    targets = np.full((len(rows), len(classes)), ABSENT, dtype=np.int8)
    for row, (_, names) in zip(targets, rows):
        if names is None:
            row[:] = unstated
        else:
            row[[index[name] for name in names]] = PRESENT
    return ImageLabels(classes, tuple(image for image, _ in rows), csr_array(targets))
