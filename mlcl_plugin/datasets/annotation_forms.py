# SPDX-License-Identifier: Apache-2.0
"""Image-level labels in the forms of COCO, VOC, tables and MMPretrain.

What is converted are image-level labels: which labels an image has, and where the form
can hold it, of which it is unknown whether it has them. Boxes and masks are not kept.
Images stay where they are, named by their paths relative to one root, the image folder:

- **coco**: an ``instances_*.json``. Each label of an image is an annotation marked
  ``image_level_only``, with a box around the whole image where the images' sizes are
  given. There is no way to say that a label is unknown.
- **voc**: a folder with ``ImageSets/Main/<split>.txt``, one list a label beside it (1,
  -1, and 0 for unknown), ``Annotations/*.xml`` and ``classes.txt``. Unknown labels
  are objects that are ``difficult``, which is how :class:`VOCMultiLabel` reads them.
- **table**: CSV, TSV or Parquet with a path column and a column for each label (1, 0,
  empty for unknown), or one column of names, which cannot hold unknown labels.
- **mmpretrain**: the JSON of MMPretrain's ``MultiLabelDataset``; images with unknown
  labels have a ``gt_score`` of 1, 0 and -1 in addition.
"""

import csv
import io
import itertools
import os
import re
import unicodedata
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
import pandas as pd
from mmpretrain.datasets import MultiLabelDataset
from PIL import Image
from scipy.sparse import csr_array

from .annotation_files import check_classes, read_classes
from .coco_multi_label import CocoMultiLabel
from .table import PANDAS_INDEX, PARQUET, open_table
from .tabular_multi_label import (
    LABEL_COLUMN,
    TabularMultiLabel,
    find_label_column,
    find_label_names,
)
from .transforms.labels_to_targets import LabelsToTargets
from .voc_multi_label import VOCMultiLabel

FORMS = ('coco', 'voc', 'table', 'mmpretrain')
TABLE_SUFFIXES = ('.csv', '.tsv', '.parquet', '.pq')
Files = Callable[[], Iterable[tuple[Path, bytes]]]

# What XML 1.0 has no way to write, apart from control characters.
NOT_XML = re.compile('[\ufffe\uffff]')


@dataclass(frozen=True, eq=False)
class ImageLabels:
    """Image-level labels of N images.

    Attributes:
        classes (tuple[str, ...]): L names of labels.
        images (tuple[str, ...]): N paths of images, relative to the image folder.
        targets (csr_array): ``(N, L)`` int8: 1 present, 0 absent, -1 unknown.

    Raises:
        ValueError: If there is no label or no image, or a name or path is empty, is
            there twice or has control characters such as line breaks.
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

    @property
    def num_unknown(self) -> int:
        """int: Entries that are unknown."""
        return int((self.targets.data == -1).sum())

    def labels_of(self, image: int, value: int) -> list[int]:
        """Indices of the labels of an image that are 1 (present) or -1 (unknown)."""
        start, end = self.targets.indptr[image : image + 2]
        columns = self.targets.indices[start:end]
        return sorted(columns[self.targets.data[start:end] == value].tolist())

    def take(self, images: Sequence[int]) -> 'ImageLabels':
        """The images of the given indices, in their order."""
        chosen = tuple(self.images[i] for i in images)
        return replace(self, images=chosen, targets=self.targets[list(images)])

    def select(self, classes: Sequence[str]) -> 'ImageLabels':
        """Some of the labels, in the order of their names.

        Args:
            classes (Sequence[str]): The names.

        Raises:
            ValueError: If one of them is none of these labels, or there twice.
        """
        classes = check_classes(classes, self.classes)
        columns = [self.classes.index(name) for name in classes]
        targets = self.targets.tocsc()[:, columns].tocsr()
        return replace(self, classes=classes, targets=targets)

    def without_unknown(self, how: str) -> 'ImageLabels':
        """Labels of which none is unknown.

        Args:
            how (str): 'negative' takes unknown labels as absent, 'drop' leaves out all
                images that have one, and 'error' is for data that have none.

        Returns:
            ImageLabels: These labels themselves if none is unknown.

        Raises:
            ValueError: If ``how`` is 'error' and labels are unknown, or no image is
                left.
        """
        if how not in ('error', 'negative', 'drop'):
            raise ValueError(f"how must be 'error', 'negative' or 'drop', got {how!r}.")
        if self.num_unknown == 0:
            return self
        rows = np.unique((self.targets == -1).nonzero()[0])
        if how == 'error':
            raise ValueError(
                f'{self.num_unknown:,} labels of {len(rows):,} images are unknown (the '
                f"first: '{self.images[rows[0]]}', "
                f"'{self.classes[self.labels_of(rows[0], -1)[0]]}'), which this form "
                'cannot hold. Take them as absent (--unknown negative), or leave these '
                'images out (--unknown drop).'
            )
        if how == 'drop':
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
            raise ValueError(f"The {what} '{name}' is there twice, expected it once.")
        seen.add(name)


def guess_form(path: str | Path) -> str | None:
    """The form of an existing file or folder, or of one that is to be written.

    Returns:
        str | None: One of :data:`FORMS`, or None if the path does not tell: that of a
        JSON file which does not exist.

    Raises:
        ValueError: If the path or the file is of no known form.
    """
    path = Path(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return 'table'
    if path.suffix.lower() == '.json':
        if not path.is_file():
            return None
        keys = _read_keys(path)
        if {'metainfo', 'data_list'} <= keys:
            return 'mmpretrain'
        if {'images', 'annotations', 'categories'} <= keys:
            return 'coco'
        raise ValueError(
            f"{path} is neither COCO's (keys 'images', 'annotations', 'categories') "
            f"nor MMPretrain's (keys 'metainfo', 'data_list'), it has {sorted(keys)}."
        )
    if path.is_dir() or not path.suffix:
        return 'voc'
    raise ValueError(
        f"Cannot tell the form of '{path}', expected a name that ends with .json or "
        f'one of {TABLE_SUFFIXES}, or a folder in the form of VOC.'
    )


def holds_unknown(form: str, style: str = 'columns') -> bool:
    """Whether a form, for tables in this style, can say that a label is unknown."""
    return form != 'coco' and (form != 'table' or style != 'names')


def read_labels(
    path: str | Path,
    form: str | None = None,
    split: str | None = None,
    classes: str | Path | Sequence[str] | None = None,
    image_column: str = 'image',
    label_column: str | None = None,
    separator: str = ';',
    delimiter: str | None = None,
    unstated_as: int | None = None,
) -> ImageLabels:
    """Read image-level labels.

    Args:
        path (str | Path): The file, or for VOC the folder.
        form (str, optional): One of :data:`FORMS`. None tells it by the path.
            Defaults to None.
        split (str, optional): For VOC: the name of the list. For tables: take only
            rows that have it in the column 'split'. Defaults to None: the list 'train',
            or all rows.
        classes (str | Path | Sequence[str], optional): The names of the labels, in
            their order, or a file with one name a line. None takes those of the file;
            for VOC those of ``classes.txt`` in the folder or else the 20 of PASCAL VOC;
            for a table with a column of names those of ``<table>.classes.txt`` beside
            it or else the names that occur, sorted. Defaults to None.
        image_column (str): For tables: the column of paths. Defaults to 'image'.
        label_column (str, optional): For tables: the column of names of labels. None
            is 'labels' if there is such a column. Defaults to None.
        separator (str): For tables: what stands between names. Defaults to ';'.
        delimiter (str, optional): For CSV files: what separates fields. Defaults to
            None, see :class:`TabularMultiLabel`.
        unstated_as (int, optional): For tables: what is meant by an empty cell or a
            name that is not there, -1 (unknown) or 0 (absent). Defaults to None, see
            :class:`TabularMultiLabel`.

    Returns:
        ImageLabels: The labels of all images, those without any label too.

    Raises:
        FileNotFoundError: If the file or one that it needs is missing.
        ValueError: If something in it is not as the form demands.
    """
    form = form or guess_form(path)
    classes = read_classes(classes)
    if split is not None and form in ('coco', 'mmpretrain'):
        raise ValueError(
            f"Only VOC and tables have splits, got split '{split}' for {path}, which "
            'is read whole.'
        )
    if form != 'voc' and not Path(path).is_file():
        raise FileNotFoundError(f"There is no annotation file '{path}'.")
    if form == 'coco':
        return _read_coco(Path(path), classes)
    if form == 'voc':
        return _read_voc(Path(path), split or 'train', classes)
    if form == 'mmpretrain':
        return _read_mmpretrain(Path(path), classes)
    if form == 'table':
        return _read_table(
            Path(path),
            classes,
            delimiter,
            image_column=image_column,
            label_column=label_column,
            separator=separator,
            split=split,
            unstated_as=unstated_as,
        )
    raise ValueError(f'form must be one of {FORMS}, got {form!r}.')


def write_labels(
    labels: ImageLabels,
    path: str | Path,
    form: str | None = None,
    split: str = 'train',
    unknown: str = 'error',
    style: str = 'columns',
    image_column: str = 'image',
    label_column: str | None = None,
    separator: str = ';',
    image_root: str | Path | None = None,
    overwrite: bool = False,
) -> ImageLabels:
    """Write image-level labels.

    Args:
        labels (ImageLabels): The labels.
        path (str | Path): The file, or for VOC the folder, to which lists of other
            splits with the same labels may belong already.
        form (str, optional): One of :data:`FORMS`. None tells it by the path.
            Defaults to None.
        split (str): For VOC: the name of the list. Defaults to 'train'.
        unknown (str): What to do with unknown labels where the form cannot hold them,
            see :meth:`ImageLabels.without_unknown`. Defaults to 'error'.
        style (str): For tables: 'columns' for one a label or 'names' for one column of
            names. Defaults to 'columns'.
        image_column (str): For tables: the column of paths. Defaults to 'image'.
        label_column (str, optional): For tables: the column of names. Defaults to
            None, which is 'labels'.
        separator (str): For tables: what stands between names. Defaults to ';'.
        image_root (str | Path, optional): For COCO and VOC: the image folder, to take
            the images' sizes from. Without it, neither sizes nor boxes are written.
            Defaults to None.
        overwrite (bool): Whether to replace files that hold something else. Defaults
            to False.

    Returns:
        ImageLabels: What was written: ``labels`` but for what ``unknown`` changed.

    Raises:
        FileExistsError: If a file exists, holds something else and ``overwrite`` is
            False. Nothing is written then.
        FileNotFoundError: If an image is not in ``image_root``.
        ValueError: If the form cannot hold the labels.
    """
    labels, files = prepare_files(
        labels,
        path,
        form,
        split,
        unknown,
        style,
        image_column,
        label_column,
        separator,
        image_root,
    )
    write_files([files], overwrite)
    return labels


def prepare_files(
    labels: ImageLabels,
    path: str | Path,
    form: str | None = None,
    split: str = 'train',
    unknown: str = 'error',
    style: str = 'columns',
    image_column: str = 'image',
    label_column: str | None = None,
    separator: str = ';',
    image_root: str | Path | None = None,
) -> tuple[ImageLabels, Files]:
    """Make the files of image-level labels, see :func:`write_labels` for arguments.

    Returns:
        tuple[ImageLabels, Callable]: What the files hold, and a function that gives
        path and content of every file, for :func:`write_files`.

    Raises:
        FileNotFoundError: If an image is not in ``image_root``.
        ValueError: If the form cannot hold the labels.
    """
    form = form or guess_form(path)
    path = Path(path)
    if form is None:
        raise ValueError(
            f"Cannot tell the form of '{path}': name it (--to coco or --to mmpretrain)."
        )
    if form not in FORMS:
        raise ValueError(f'form must be one of {FORMS}, got {form!r}.')
    if style not in ('columns', 'names'):
        raise ValueError(f"style must be 'columns' or 'names', got {style!r}.")
    if not holds_unknown(form, style):
        labels = labels.without_unknown(unknown)
    sizes = None
    if form in ('coco', 'voc') and image_root is not None:
        sizes = _read_sizes(labels, Path(image_root))

    if form == 'voc':
        _check_for_voc(labels)
        # Made anew for each use rather than held: there is a file for every image.
        return labels, lambda: _voc_files(labels, path, split, sizes)
    if form == 'coco':
        files = [(path, _coco_content(labels, sizes))]
    elif form == 'mmpretrain':
        files = [(path, _mmpretrain_content(labels))]
    else:
        files = [
            (
                path,
                _table_content(
                    labels, path, style, image_column, label_column, separator
                ),
            )
        ]
        if style == 'names':
            # Names that no image has, and their order, are nowhere in the table.
            files.insert(0, (_classes_file(path), _lines(labels.classes)))
    return labels, lambda: files


def write_files(prepared: Sequence[Files], overwrite: bool = False) -> None:
    """Write all files, or none if one of them exists and holds something else.

    Args:
        prepared (Sequence[Callable]): Of :func:`prepare_files`.
        overwrite (bool): Whether to replace files that hold something else. Defaults
            to False.

    Raises:
        FileExistsError: If there is such a file and ``overwrite`` is False.
    """
    if not overwrite:
        for path, content in itertools.chain(*(files() for files in prepared)):
            if path.exists() and not (path.is_file() and path.read_bytes() == content):
                raise FileExistsError(
                    f"'{path}' exists already and holds something else. Nothing was "
                    'written. Choose another place, or let it be overwritten '
                    '(--overwrite).'
                )
    for path, content in itertools.chain(*(files() for files in prepared)):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not to leave half a file where the call is interrupted.
        beside = path.with_name(f'.{uuid.uuid4().hex}.part')
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def _from_dataset(dataset: MultiLabelDataset, prefix: str = '') -> ImageLabels:
    """The labels of a dataset; ``prefix`` is left out of its paths."""
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise ValueError('The annotation does not tell its classes.')
    to_targets = LabelsToTargets(len(classes))
    images, rows, columns, values = [], [], [], []
    for row in range(len(dataset)):
        info = dataset.get_data_info(row)
        targets = np.asarray(to_targets(info)['gt_score'])
        found = np.flatnonzero(targets)
        images.append(info['img_path'].removeprefix(prefix))
        rows.append(np.full(len(found), row))
        columns.append(found)
        values.append(targets[found].astype(np.int8))
    return ImageLabels(
        tuple(map(str, classes)),
        tuple(images),
        _sparse(rows, columns, values, (len(images), len(classes))),
    )


def _sparse(rows: list, columns: list, values: list, shape: tuple) -> csr_array:
    """A sparse matrix of lists of arrays, empty ones included."""
    rows, columns, values = (
        np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)
        for parts, kind in ((rows, np.int64), (columns, np.int64), (values, np.int8))
    )
    return csr_array((values, (rows, columns)), shape=shape)


def _classes_file(table: Path) -> Path:
    """The file beside a table of names that holds all names, in their order."""
    return table.with_name(f'{table.name}.classes.txt')


def _read_keys(path: Path) -> set[str]:
    """The keys of a JSON object, whose values are not parsed."""
    try:
        return set(msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw]))
    except msgspec.ValidationError:
        return set()
    except msgspec.DecodeError as error:
        raise ValueError(f'{path} is not valid JSON: {error}.') from error


# COCO


def _read_coco(path: Path, classes: Sequence[str] | None) -> ImageLabels:
    dataset = CocoMultiLabel(
        ann_file=str(path), keep_unlabelled=True, classes=classes, serialize_data=False
    )
    return _from_dataset(dataset)


def _read_sizes(labels: ImageLabels, root: Path) -> list[tuple[int, int]]:
    """Width and height of all images."""
    sizes = []
    for image in labels.images:
        try:
            with Image.open(root / image) as picture:
                sizes.append(picture.size)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"There is no image file '{root / image}'. Check the image root: with "
                'the paths of the annotation it must lead to the images.'
            ) from error
        except OSError as error:
            raise ValueError(
                f"Cannot read the size of the image '{root / image}': {error}"
            ) from error
    return sizes


def _coco_content(labels: ImageLabels, sizes: list | None) -> bytes:
    images, annotations = [], []
    for row, name in enumerate(labels.images):
        image = dict(id=row + 1, file_name=name)
        box = {}
        if sizes is not None:
            width, height = sizes[row]
            image |= dict(width=width, height=height)
            box = dict(bbox=[0, 0, width, height], area=width * height)
        images.append(image)
        for label in labels.labels_of(row, 1):
            annotation = dict(
                id=len(annotations) + 1,
                image_id=row + 1,
                category_id=label + 1,
                iscrowd=0,
                image_level_only=1,
            )
            annotations.append(annotation | box)
    categories = [
        dict(id=label + 1, name=name) for label, name in enumerate(labels.classes)
    ]
    return msgspec.json.encode(
        dict(images=images, annotations=annotations, categories=categories)
    )


# VOC


def _read_voc(root: Path, split: str, classes: Sequence[str] | None) -> ImageLabels:
    if classes is None and (root / 'classes.txt').is_file():
        classes = read_classes(root / 'classes.txt')
    prefix = f'{root}/JPEGImages'
    dataset = VOCMultiLabel(
        data_root=str(root),
        # A split that VOC does not name goes by its list.
        split='',
        image_set_path=f'ImageSets/Main/{split}.txt',
        data_prefix=dict(img_path='JPEGImages', ann_path='Annotations'),
        classes=classes,
        serialize_data=False,
    )
    return _from_dataset(dataset, f'{prefix}/')


def _check_for_voc(labels: ImageLabels) -> None:
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


def _voc_files(
    labels: ImageLabels, root: Path, split: str, sizes: list | None
) -> Iterator[tuple[Path, bytes]]:
    """Path and content of all files; the list of the split comes last.

    A call that was interrupted does not leave a list of images without annotation.
    """
    yield root / 'classes.txt', _lines(labels.classes)
    for row, image in enumerate(labels.images):
        size = None if sizes is None else sizes[row]
        path = root / 'Annotations' / f'{image.removesuffix(".jpg")}.xml'
        yield path, _voc_xml(labels, row, size)
    names = [image.removesuffix('.jpg') for image in labels.images]
    lists = root / 'ImageSets' / 'Main'
    # The sign in VOC's lists for 1 present, 0 absent and -1 unknown.
    sign = {1: ' 1', 0: '-1', -1: ' 0'}
    columns = labels.targets.tocsc()
    for label, name in enumerate(labels.classes):
        column = columns[:, [label]].toarray().ravel().tolist()
        lines = [f'{image} {sign[value]}' for image, value in zip(names, column)]
        # A name is to stay one file; quote as URLs do.
        name = name.replace('%', '%25').replace('/', '%2F')
        yield lists / f'{name}_{split}.txt', _lines(lines)
    yield lists / f'{split}.txt', _lines(names)


def _lines(lines: Sequence[str]) -> bytes:
    return ''.join(f'{line}\n' for line in lines).encode()


def _voc_xml(labels: ImageLabels, row: int, size: tuple[int, int] | None) -> bytes:
    root = ElementTree.Element('annotation')

    def add(parent: ElementTree.Element, **texts) -> None:
        for tag, text in texts.items():
            ElementTree.SubElement(parent, tag).text = str(text)

    add(root, filename=labels.images[row])
    if size is not None:
        element = ElementTree.SubElement(root, 'size')
        add(element, width=size[0], height=size[1])
    present, unknown = labels.labels_of(row, 1), labels.labels_of(row, -1)
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


# MMPretrain


def _read_mmpretrain(path: Path, classes: Sequence[str] | None) -> ImageLabels:
    try:
        dataset = MultiLabelDataset(ann_file=str(path), serialize_data=False)
        labels = _from_dataset(dataset)
    # Its own errors are of several classes, some about Python rather than the file.
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not as MMPretrain's MultiLabelDataset expects it, "
            '{"metainfo": {"classes": [NAME, ...]}, "data_list": [{"img_path": PATH, '
            f'"gt_label": [INDEX, ...]}}, ...]}}: {error}'
        ) from error
    # Given classes of its own, the dataset would give the file's labels other names.
    return labels if classes is None else labels.select(classes)


def _mmpretrain_content(labels: ImageLabels) -> bytes:
    data_list = []
    for row, image in enumerate(labels.images):
        item = dict(img_path=image, gt_label=labels.labels_of(row, 1))
        if labels.labels_of(row, -1):
            item['gt_score'] = labels.targets[[row]].toarray().ravel().tolist()
        data_list.append(item)
    metainfo = dict(dataset_type='MultiLabelDataset', classes=list(labels.classes))
    return msgspec.json.encode(dict(metainfo=metainfo, data_list=data_list))


# tables


def _read_table(
    path: Path, classes: Sequence[str] | None, delimiter: str | None, **options
) -> ImageLabels:
    """The labels of a table; ``options`` are those of :class:`TabularMultiLabel`."""
    if classes is None:
        with open_table(str(path), delimiter=delimiter) as table:
            column = find_label_column(table.columns, options['label_column'])
        if column and _classes_file(path).is_file():
            classes = read_classes(_classes_file(path))
        elif column:
            classes = find_label_names(
                str(path), column, options['separator'], delimiter
            )
    dataset = TabularMultiLabel(
        str(path),
        delimiter=delimiter,
        classes=classes,
        serialize_data=False,
        **options,
    )
    return _from_dataset(dataset)


def _table_content(
    labels: ImageLabels,
    path: Path,
    style: str,
    image_column: str,
    label_column: str | None,
    separator: str,
) -> bytes:
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise ValueError(
            f"A table's name must end with one of {TABLE_SUFFIXES}, got '{suffix}'."
        )
    frame = pd.DataFrame({image_column: list(labels.images)}, dtype='object')
    if style == 'names':
        label_column = label_column or LABEL_COLUMN
        if label_column == image_column:
            raise ValueError(
                f"Paths and names of labels need two columns, got '{image_column}' for "
                'both (image_column and label_column).'
            )
        _check_for_names(labels, separator)
        frame[label_column] = [
            separator.join(labels.classes[i] for i in labels.labels_of(row, 1))
            for row in range(len(labels.images))
        ]
    else:
        _check_for_columns(labels, suffix, image_column)
        values = labels.targets.toarray()
        columns = pd.DataFrame(values, columns=list(labels.classes)).astype('Int8')
        frame = pd.concat([frame, columns.mask(values == -1)], axis=1)
    buffer = io.BytesIO()
    if suffix in PARQUET:
        frame.to_parquet(buffer, index=False)
    else:
        frame.to_csv(
            buffer,
            index=False,
            sep='\t' if suffix == '.tsv' else ',',
            # Names such as NA or 1e5 are names.
            quoting=csv.QUOTE_NONNUMERIC,
            lineterminator='\n',
        )
    return buffer.getvalue()


def _check_for_columns(labels: ImageLabels, suffix: str, image_column: str) -> None:
    """Refuse labels whose columns would be read as something else."""
    for name in labels.classes:
        if name in (image_column, LABEL_COLUMN):
            raise ValueError(
                f"The label '{name}' would have a column that is read as something "
                "else: the column of paths (image_column) or, for 'labels', of names. "
                'Rename the label or the column of paths, or choose another form.'
            )
        if suffix in PARQUET and name.startswith(PANDAS_INDEX):
            raise ValueError(
                f"The label '{name}' is called like an index of pandas, which readers "
                'of Parquet leave out. Rename it, or write CSV.'
            )


def _check_for_names(labels: ImageLabels, separator: str) -> None:
    if not separator:
        raise ValueError('separator must not be empty.')
    for name in labels.classes:
        if separator in name or name != name.strip():
            raise ValueError(
                f"The label name '{name}' holds the separator '{separator}' or begins "
                'or ends with a blank, so a column of names cannot hold it. Choose '
                'another separator, or one column a label.'
            )
