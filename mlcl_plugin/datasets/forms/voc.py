# SPDX-License-Identifier: Apache-2.0
"""PASCAL VOC's folder.

It holds ``ImageSets/Main/<split>.txt``, beside it one list per label (1, -1, and 0 for
unknown), ``Annotations/*.xml`` and ``classes.txt``. Unknown labels are objects that are
``difficult``, which is how :class:`VOCMultiLabel` reads them.
"""

import glob
import mimetypes
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...targets import ABSENT, PRESENT, UNKNOWN
from ..annotation_files import read_classes, read_image_list
from ..voc_multi_label import VOCMultiLabel
from .files import encode_lines
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels
from .image_sizes import Size, read_sizes

# Characters that XML 1.0 has no way to write, apart from control characters.
NOT_XML = re.compile('[\ufffe\uffff]')
# What stands for a target in VOC's lists.
SIGNS = {PRESENT: ' 1', ABSENT: '-1', UNKNOWN: ' 0'}


class VocForm(Form):
    """VOC's folder. Several splits with the same labels share one."""

    name = 'voc'
    looks = 'a folder in the form of VOC'
    is_folder = True
    has_splits = True

    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a path is a folder or, not existing, has no suffix."""
        return path.is_dir() or not path.suffix

    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read the images of one list."""
        classes = options.classes
        if classes is None and (path / 'classes.txt').is_file():
            classes = read_classes(path / 'classes.txt')
        split_list = f'ImageSets/Main/{options.split or "train"}.txt'
        dataset = VOCMultiLabel(
            data_root=str(path),
            # VOC's own splits or not: the list is named.
            split='',
            image_set_path=split_list,
            data_prefix=dict(img_path='JPEGImages', ann_path='Annotations'),
            image_suffix=_image_suffix(path, split_list),
            classes=classes,
            serialize_data=False,
        )
        return ImageLabels.from_dataset(dataset, f'{path}/JPEGImages/')

    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Make the files; an iteration makes them anew, as there is one per image."""
        sizes = read_sizes(labels, options)
        _check(labels)
        return lambda: _files(labels, path, options.split, sizes)

    def dataset_config(self, path: str, options: WriteOptions) -> dict:
        """The config of a ``VOCMultiLabel``."""
        images = options.image_folder
        if options.image_root is not None:
            # Relative paths would start in the folder of VOC.
            images = os.path.abspath(images)
        return dict(
            type='VOCMultiLabel',
            data_root=path,
            # The list may have another name than VOC's own.
            split='',
            image_set_path=f'ImageSets/Main/{options.split}.txt',
            classes=f'{path}/classes.txt',
            data_prefix=dict(img_path=images, ann_path='Annotations'),
        )


def _image_suffix(root: Path, split_list: str) -> str:
    """The ending of the image files: that of the first one, or VOC's .jpg."""
    try:
        name = read_image_list(str(root / split_list), 'split', str(root))[0]
    except (FileNotFoundError, ValueError):
        # The dataset says what is wrong.
        return '.jpg'
    images = root / 'JPEGImages'
    stem = PurePosixPath(name).name
    try:
        if (images / f'{name}.jpg').exists():
            return '.jpg'
        # A file of another kind may lie beside an image; "a.b" is not the image "a".
        found = [x for x in images.glob(f'{glob.escape(name)}.*') if x.stem == stem]
    except (OSError, NotImplementedError):
        # Too long, or absolute: the dataset says so.
        return '.jpg'
    found.sort(key=lambda x: (not _is_image(x.name), x.name))
    return found[0].suffix if found else '.jpg'


def _is_image(name: str) -> bool:
    kind, _ = mimetypes.guess_type(name, strict=False)
    return kind is not None and kind.startswith('image/')


def _check(labels: ImageLabels) -> None:
    """Refuse what VOC's files or their readers would not give back."""
    for name in labels.classes:
        _check_text('label name', name)
    for image in labels.images:
        name = image.removesuffix('.jpg')
        path = PurePosixPath(image)
        if name == image or not name or name.endswith('/'):
            raise ValueError(
                f"VOC names images without .jpg and its readers add it, which '{image}'"
                ' does not end with. Keep such images in another form.'
            )
        if path.is_absolute() or '..' in path.parts or str(path) != image:
            raise ValueError(
                f"VOC names images by paths inside its folder, got '{image}'. Make the "
                'paths relative to the image folder, without . and .. in them.'
            )
        _check_text('image name', name)


def _check_text(what: str, text: str) -> None:
    if text != text.strip():
        raise ValueError(
            f'The {what} {text!r} begins or ends with a blank, which readers of VOC '
            'strip. Rename it, or choose another form.'
        )
    if NOT_XML.search(text):
        raise ValueError(f'The {what} {text!r} has a character that XML cannot hold.')


def _files(
    labels: ImageLabels, root: Path, split: str, sizes: list[Size] | None
) -> Iterator[tuple[Path, bytes]]:
    """Give path and content of all files, the list of the split last.

    So an interrupted call does not leave a list of images without annotation.
    """
    yield root / 'classes.txt', encode_lines(labels.classes)
    for row, image in enumerate(labels.images):
        size = None if sizes is None else sizes[row]
        path = root / 'Annotations' / f'{image.removesuffix(".jpg")}.xml'
        yield path, _xml(labels, row, size)
    names = [image.removesuffix('.jpg') for image in labels.images]
    lists = root / 'ImageSets' / 'Main'
    columns = labels.targets.tocsc()
    for label, name in enumerate(labels.classes):
        column = columns[:, [label]].toarray().ravel().tolist()
        lines = [f'{image} {SIGNS[value]}' for image, value in zip(names, column)]
        # Quoted as in URLs, so that a name is one file.
        name = name.replace('%', '%25').replace('/', '%2F')
        yield lists / f'{name}_{split}.txt', encode_lines(lines)
    yield lists / f'{split}.txt', encode_lines(names)


def _xml(labels: ImageLabels, row: int, size: Size | None) -> bytes:
    root = ElementTree.Element('annotation')

    def add(parent: ElementTree.Element, **texts: object) -> None:
        for tag, text in texts.items():
            ElementTree.SubElement(parent, tag).text = str(text)

    add(root, filename=labels.images[row])
    if size is not None:
        element = ElementTree.SubElement(root, 'size')
        add(element, width=size[0], height=size[1])
    present, unknown = labels.labels_of(row, PRESENT), labels.labels_of(row, UNKNOWN)
    for label in sorted(present + unknown):
        element = ElementTree.SubElement(root, 'object')
        difficult = int(label in unknown)
        add(element, name=labels.classes[label], difficult=difficult)
        if size is not None:
            box = ElementTree.SubElement(element, 'bndbox')
            add(box, xmin=1, ymin=1, xmax=size[0], ymax=size[1])
        add(element, image_level_only=1)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='utf-8') + b'\n'
