# SPDX-License-Identifier: Apache-2.0
"""MS-COCO as a multi-label classification dataset."""

import logging
from collections.abc import Collection, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from ..plain_text import brief, list_some
from .annotation_files import (
    check_classes,
    decode_json,
    read_annotation_file,
    read_flag,
)
from .labelled_images import LabelledImages


# What is needed of the file. The rest, nine tenths of it outlines of objects, is
# skipped without making Python objects of it.
class _Category(msgspec.Struct, gc=False):
    id: int | str
    name: int | str
    supercategory: Any = None


class _Image(msgspec.Struct, gc=False):
    id: int | str
    file_name: Annotated[str, msgspec.Meta(min_length=1)]


class _Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int | str
    id: Any = None
    iscrowd: Any = 0


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


Entry = TypeVar('Entry', bound=msgspec.Struct)


@DATASETS.register_module()
class CocoMultiLabel(LabelledImages):
    """`MS-COCO <https://cocodataset.org>`_ with image-level labels.

    Reads the official ``instances_*.json``, or any file in that format. The categories
    of an image's boxes are its labels. The index of a label is the rank of its category
    id: COCO's 80 ids run from 1 to 90 with gaps. ::

        coco
        ├── annotations
        │   ├── instances_train2014.json
        │   └── instances_val2014.json
        ├── train2014
        │   ├── COCO_train2014_000000000009.jpg
        │   └── ...
        └── val2014
            └── ...

    With the defaults, COCO 2014 gives the 82,081 training and 40,137 validation images
    of the lists on which papers report: all images with at least one box.

    Items are those of :class:`LabelledImages`, with ``img_id`` (the id in the file).

    Args:
        ann_file (str): The annotation file, relative to ``data_root`` or absolute.
        data_root (str): The root of relative paths. Defaults to ''.
        data_prefix (str | dict): The folder of the images, as a string or as
            ``dict(img_path=...)``. Defaults to ''.
        keep_unlabelled (bool): Keep images without any label, with an empty
            ``gt_label``. Defaults to False.
        with_crowd (bool): Take boxes of a crowd (``iscrowd=1``) as a label. Defaults to
            True, as in the lists named above.
        metainfo, cache_dir: See :class:`LabelledImages`.
        **kwargs: Passed on to :class:`LabelledImages`.
        classes (str | Sequence[str], optional): The names of the labels in the order of
            their index, or the path of a file with one name per line. Boxes of other
            categories are left out. Defaults to None: all categories of the file.

    Raises:
        FileNotFoundError: If there is no annotation file.
        ValueError: If the file is not in COCO's instances format, contradicts itself (a
            repeated id, name or image file, a box of an unknown image or category),
            lacks one of ``classes``, or if no image is left.

    Examples:
        >>> from mlcl_plugin.datasets import CocoMultiLabel
        >>> dataset = CocoMultiLabel(  # doctest: +SKIP
        ...     data_root='data/coco',
        ...     ann_file='annotations/instances_val2014.json',
        ...     data_prefix='val2014')
        >>> len(dataset), len(dataset.metainfo['classes'])  # doctest: +SKIP
        (40137, 80)
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str | dict = '',
        keep_unlabelled: bool = False,
        with_crowd: bool = True,
        metainfo: dict | None = None,
        classes: str | Sequence[str] | None = None,
        cache_dir: str | None = None,
        **kwargs,
    ) -> None:
        self.keep_unlabelled = keep_unlabelled
        self.with_crowd = with_crowd
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            metainfo=metainfo,
            classes=classes,
            cache_dir=cache_dir,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the annotation file and set ``metainfo['classes']``.

        Returns:
            list[dict]: One dict per image, with ``img_path``, ``img_id`` and
            ``gt_label``.
        """
        options = dict(
            keep_unlabelled=self.keep_unlabelled,
            with_crowd=self.with_crowd,
            classes=self._metainfo.get('classes'),
        )
        data_list, classes = self.fetch(options, [self.ann_file], self._read)
        self._metainfo['classes'] = tuple(classes)
        return data_list

    def _read(self) -> tuple[list[dict], Sequence[str]]:
        """The images with their labels, and the names of the classes."""
        content = self._read_instances()
        classes, label_of = self._select_categories(content.categories)
        images = self._index_images(content.images)

        labels: dict[int | str, set[int]] = {img_id: set() for img_id in images}
        for number, ann in enumerate(content.annotations):
            if ann.category_id not in label_of:
                which = _which(ann.category_id, label_of, 'categories')
                raise ValueError(f'{self._where(ann, number)} has category_id {which}.')
            if ann.image_id not in labels:
                which = _which(ann.image_id, labels, 'images')
                raise ValueError(f'{self._where(ann, number)} has image_id {which}.')
            label = label_of[ann.category_id]
            if label is not None and (self.with_crowd or not self._crowd(ann, number)):
                labels[ann.image_id].add(label)

        self._warn_of_supercategories(content.categories, label_of, labels)

        paths = self.image_paths()
        data_list = [
            {
                'img_path': paths.join(file_name),
                'img_id': img_id,
                'gt_label': sorted(labels[img_id]),
            }
            for img_id, file_name in images.items()
            if labels[img_id] or self.keep_unlabelled
        ]
        if not data_list:
            raise ValueError(
                f'{self.ann_file}: no image is left. The file lists {len(images)} '
                f'images and {len(content.annotations)} annotations, and none of '
                'the images carries a label that is in use. Check classes and '
                'with_crowd, or set keep_unlabelled=True to keep images without '
                'labels.'
            )
        return data_list, classes

    def _where(self, ann: _Annotation, number: int) -> str:
        return f'{self.ann_file}: annotations[{number}] (id {ann.id})'

    def _crowd(self, ann: _Annotation, number: int) -> bool:
        """Whether a box is that of a crowd. Some tools write "0" or null."""
        crowd = False if ann.iscrowd is None else read_flag(ann.iscrowd)
        if crowd is None:
            raise ValueError(
                f'{self._where(ann, number)} has iscrowd {brief(ann.iscrowd)}, '
                'expected 0 or 1.'
            )
        return crowd

    def _read_instances(self) -> _Instances:
        """Read the parts of the file that are needed."""
        content = read_annotation_file(
            self.ann_file, 'annotation file', 'ann_file', self.data_root
        )
        try:
            return msgspec.json.decode(content, type=_Instances)
        except (ValueError, RecursionError):
            return self._check_instances(content)

    def _check_instances(self, encoded: bytes) -> _Instances:
        """Read a file of other tools, or say what is wrong, in the terms of COCO."""
        content = decode_json(encoded, self.ann_file)
        if not isinstance(content, dict):
            raise ValueError(
                f'{self.ann_file} is not a COCO instances file: it holds a '
                f'{type(content).__name__}, expected an object with the keys '
                "'images', 'annotations' and 'categories'."
            )
        for key in ('images', 'annotations', 'categories'):
            if not isinstance(content.get(key), list):
                got = (
                    f'a {type(content[key]).__name__}'
                    if key in content
                    else f'only the keys {list_some(sorted(content))}'
                )
                raise ValueError(
                    f'{self.ann_file} is not a COCO instances file: expected a list '
                    f"under the key '{key}', got {got}. Is it a captions, keypoints "
                    'or test (image_info) file?'
                )
        return _Instances(
            images=self._entries(content, 'images', _Image),
            annotations=self._entries(content, 'annotations', _Annotation),
            categories=self._entries(content, 'categories', _Category),
        )

    def _entries(self, content: dict, key: str, kind: type[Entry]) -> list[Entry]:
        """Check the entries of one list of the file."""
        return [
            kind(**self._fields(entry, kind, f'{key}[{number}]'))
            for number, entry in enumerate(content[key])
        ]

    def _fields(self, entry: dict, kind: type[msgspec.Struct], where: str) -> dict:
        """Take what is needed out of one entry of the file."""
        keys = [field.name for field in msgspec.structs.fields(kind) if field.required]
        if not isinstance(entry, dict):
            raise ValueError(
                f'{self.ann_file}: {where} is a {type(entry).__name__}, expected an '
                f'object with the keys {keys}.'
            )
        entry = {key: _whole(value) for key, value in entry.items()}
        for key in keys:
            # COCO's ids are integers and its names strings. Anything else, such as
            # null or a list, would fail later with an unclear message.
            value = entry.get(key)
            if key == 'file_name':
                wanted = 'the path of an image'
                right = isinstance(value, str) and value != ''
            else:
                wanted = 'a number or a string'
                right = isinstance(value, (int, str)) and not isinstance(value, bool)
            if not right:
                got = brief(value) if key in entry else f'the keys {sorted(entry)}'
                raise ValueError(
                    f"{self.ann_file}: expected {wanted} under '{key}' in {where}, "
                    f'got {got}.'
                )
        known = kind.__struct_fields__
        return {key: value for key, value in entry.items() if key in known}

    def _select_categories(self, categories: list[_Category]) -> tuple[tuple, dict]:
        """The classes, and a map of category ids to labels (None: not in use)."""
        names: dict[int | str, str] = {}
        seen: set[str] = set()
        for category in categories:
            # As text, as a file of classes gives them, even if they are numbers.
            category_id, name = category.id, str(category.name)
            if category_id in names:
                raise ValueError(
                    f"{self.ann_file}: 'categories' has the id {category_id} twice, "
                    f"for '{names[category_id]}' and '{name}'."
                )
            if name in seen:
                raise ValueError(
                    f"{self.ann_file}: 'categories' has the name '{name}' twice."
                )
            names[category_id] = name
            seen.add(name)
        # A key function for files that mix numbers and strings as ids.
        ranked = [
            names[i] for i in sorted(names, key=lambda i: (isinstance(i, str), i))
        ]

        if not ranked:
            raise ValueError(f"{self.ann_file}: 'categories' is empty.")
        classes = self._metainfo.get('classes')
        if classes is None:
            classes = tuple(ranked)
        else:
            classes = check_classes(classes, ranked, str(self.ann_file))
        index = {name: label for label, name in enumerate(classes)}
        label_of = {key: index.get(name) for key, name in names.items()}
        return classes, label_of

    def _warn_of_supercategories(
        self, categories: list[_Category], label_of: dict, labels: dict
    ) -> None:
        """Say which labels are no more than the name of a group of others.

        Some tools write the group of all categories as a category of its own.
        """
        groups = {
            str(entry.supercategory)
            for entry in categories
            if str(entry.supercategory) != str(entry.name)
        }
        found = {
            label_of[entry.id]: str(entry.name)
            for entry in categories
            if str(entry.name) in groups and label_of[entry.id] is not None
        }
        if found:
            present = set().union(*labels.values())
            names = [name for label, name in found.items() if label not in present]
            if names:
                print_log(
                    f'{self.ann_file}: the labels {list_some(names)} are the '
                    'supercategory of others, and no image has them. Leave them out '
                    'by classes, unless they are labels.',
                    logger='current',
                    level=logging.WARNING,
                )

    def _index_images(self, entries: list[_Image]) -> dict:
        """Map image ids to file names, in the file's order."""
        images: dict[int | str, str] = {}
        ids: dict[str, int | str] = {}
        for entry in entries:
            if entry.id in images:
                raise ValueError(
                    f"{self.ann_file}: 'images' has the id {entry.id} twice, for "
                    f'{images[entry.id]} and {entry.file_name}.'
                )
            # Its labels could contradict each other.
            if entry.file_name in ids:
                raise ValueError(
                    f"{self.ann_file}: 'images' has the file '{entry.file_name}' twice,"
                    f' with the ids {ids[entry.file_name]} and {entry.id}.'
                )
            images[entry.id] = entry.file_name
            ids[entry.file_name] = entry.id
        return images

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        return super().extra_repr() + [
            f'Unlabelled images: \t{"kept" if self.keep_unlabelled else "left out"}',
            f'Crowd boxes: \t{"used" if self.with_crowd else "left out"}',
        ]


def _whole(value: object) -> object:
    """A number such as 1.0, as pandas writes ids, as an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _which(wanted: int | str, ids: Collection[int | str], key: str) -> str:
    """Say that an id is not among others, and whether only its type differs."""
    other: int | str = str(wanted)
    if isinstance(wanted, str):
        other = int(wanted) if wanted.isdecimal() and len(wanted) < 20 else wanted
    if other != wanted and other in ids:
        ours, theirs = 'text', 'a number'
        if isinstance(other, str):
            ours, theirs = theirs, ours
        return (
            f"{wanted!r} ({ours}), but the id under '{key}' is {other!r} ({theirs}). "
            'Write both in the same way'
        )
    return f"{brief(wanted)}, which is none of the {len(ids)} ids under '{key}'"
