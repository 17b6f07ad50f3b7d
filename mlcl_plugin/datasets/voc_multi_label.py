# SPDX-License-Identifier: Apache-2.0
"""PASCAL VOC, and own data in its form, as a multi-label classification dataset."""

import xml.etree.ElementTree as ElementTree

from mmpretrain.datasets import VOC
from mmpretrain.registry import DATASETS

from ..local_files import check_regular
from ..plain_text import brief, list_some
from .annotation_cache import AnnotationCache
from .annotation_files import (
    check_classes,
    check_data_prefix,
    read_classes,
    read_flag,
    read_image_list,
    to_local,
)
from .image_paths import ImagePaths
from .label_spelling import warn_left_out

SPLITS = ('train', 'val', 'trainval', 'test')
PREFIX = dict(img_path='JPEGImages', ann_path='Annotations')


@DATASETS.register_module()
class VOCMultiLabel(VOC):
    """`PASCAL VOC <http://host.robots.ox.ac.uk/pascal/VOC/>`_ with image-level labels.

    On sound data it gives what MMPretrain's ``VOC`` gives. The differences: errors name
    missing and broken files, a box of an unknown name is an error and not dropped
    silently, blank lines in the list of images are skipped, and a box without
    ``<difficult>``, frequent in own data in VOC's form, is not difficult.

    Items are those of :class:`LabelledImages`: ``gt_label`` lists the labels with a box
    that is not difficult, and ``gt_label_difficult`` (list[int]) those with a box that
    is. Both are None where ``data_prefix`` has no ``ann_path``.

    Args:
        data_root (str): The root of relative paths.
        split (str): 'train', 'val', 'trainval' or 'test', which names the list of
            images; '' takes ``image_set_path``. Defaults to 'trainval'.
        image_set_path (str): The list of images, relative to ``data_root``. Defaults
            to '': that of the split.
        data_prefix (str | dict): The folders of images (``img_path``) and annotation
            (``ann_path``). Defaults to VOC's own.
        *args: Further arguments of :class:`mmpretrain.datasets.VOC`.
        unknown_names (str): What to do with boxes of names that are not in ``classes``:
            'error' or 'skip'. Defaults to 'error'.
        image_suffix (str): What the names of image files have in addition to those in
            the list. Defaults to '.jpg'.
        metainfo, cache_dir, allow_outside: See :class:`LabelledImages`.
        **kwargs: Passed on to :class:`LabelledImages`.
        classes (str | Sequence[str], optional): The names of the labels in the order of
            their index, or the path of a file with one name per line. Defaults to None:
            the 20 of PASCAL VOC.

    Raises:
        FileNotFoundError: If the list of images or an annotation file is missing.
        ValueError: If the list is empty or names an image twice, or an annotation file
            is not valid XML, has objects elsewhere than in its root, an unknown name,
            a box without a name or a ``<difficult>`` that is neither 0 nor 1.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'trainval',
        image_set_path: str = '',
        data_prefix: str | dict = PREFIX,
        *args,
        unknown_names: str = 'error',
        image_suffix: str = '.jpg',
        cache_dir: str | None = None,
        allow_outside: bool = False,
        **kwargs,
    ) -> None:
        if split and split not in SPLITS:
            raise ValueError(
                f"split must be one of {SPLITS}, got '{split}'. Name another list by "
                f"split='', image_set_path='ImageSets/Main/{split}.txt'."
            )
        if not split and not image_set_path:
            raise ValueError(
                f'Expected split, one of {SPLITS}, or image_set_path, the path of a '
                'list of images; got neither.'
            )
        check_data_prefix(data_prefix, ['ann_path'])
        if unknown_names not in ('error', 'skip'):
            raise ValueError(
                f"unknown_names must be 'error' or 'skip', got '{unknown_names}'."
            )
        self.unknown_names = unknown_names
        self.image_suffix = image_suffix
        self.cache_dir = cache_dir
        self.allow_outside = allow_outside
        if 'classes' in kwargs:
            kwargs['classes'] = read_classes(kwargs['classes'])
        try:
            super().__init__(
                to_local(data_root),
                split,
                image_set_path,
                to_local(data_prefix),
                *args,
                **kwargs,
            )
        except AssertionError as error:
            raise ValueError(
                f'{error}. Got data_prefix={data_prefix!r}; only with test_mode=True '
                'may there be no ann_path.'
            ) from error

    def load_data_list(self) -> list[dict]:
        """Read the list of images and their annotation files.

        Returns:
            list[dict]: One dict per image, with ``img_path``, ``gt_label`` and
            ``gt_label_difficult``.
        """
        check_classes(self.CLASSES)
        img_ids = read_image_list(
            self.image_set_path, 'split, image_set_path', self.data_root, unique=True
        )
        files = [self.image_set_path]
        if self.ann_prefix is not None:
            files += [self._xml_path(img_id) for img_id in img_ids]
        options = dict(
            img_prefix=self.img_prefix,
            image_suffix=self.image_suffix,
            allow_outside=self.allow_outside,
            unknown_names=self.unknown_names,
            classes=self.CLASSES,
        )
        data_list, _ = AnnotationCache(self.cache_dir).fetch(
            type(self), options, files, lambda: (self._read(img_ids), self.CLASSES)
        )
        return data_list

    def _read(self, img_ids: list[str]) -> list[dict]:
        """The images with their labels."""
        data_list = []
        paths = ImagePaths(self.img_prefix, self.allow_outside, self.image_set_path)
        left_out: set[str] = set()
        for img_id in img_ids:
            labels = difficult = None
            if self.ann_prefix is not None:
                labels, difficult = self._get_labels_from_xml(img_id, left_out)
            data_list.append(
                dict(
                    img_path=paths.join(f'{img_id}{self.image_suffix}'),
                    gt_label=labels,
                    gt_label_difficult=difficult,
                )
            )
        warn_left_out(self.image_set_path, left_out, self.CLASSES)
        return data_list

    def _xml_path(self, img_id: str) -> str:
        return self.backend.join_path(self.ann_prefix, f'{img_id}.xml')

    def _get_labels_from_xml(
        self, img_id: str, left_out: set[str]
    ) -> tuple[list[int], list[int]]:
        """The labels of boxes that are not difficult, and of those that are.

        Names that are left out are added to ``left_out``.
        """
        path = self._xml_path(img_id)
        check_regular(path)
        try:
            root = ElementTree.fromstring(self.backend.get(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f"There is no annotation file '{path}', though {self.image_set_path} "
                f"lists '{img_id}'. Check ann_path in data_prefix, and that the list "
                'has one id per line and nothing else.'
            ) from error
        except IsADirectoryError as error:
            raise ValueError(f'{path} is a folder, expected an XML file.') from error
        except OSError as error:
            raise ValueError(
                f"'{path}' cannot be read: {error.strerror or error}. "
                f'{self.image_set_path} lists {brief(img_id)}.'
            ) from error
        # LookupError and ValueError come from encodings that the parser does not know.
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            raise ValueError(
                f'{path} is not valid XML: {error}. The file may be incomplete, or in '
                'another encoding than UTF-8.'
            ) from error

        labels: set[int] = set()
        labels_difficult: set[int] = set()
        for number, box in enumerate(_boxes(root, path)):
            name = (box.findtext('name') or '').strip()
            label = self.class_to_idx.get(name)
            if label is None:
                if name and self.unknown_names == 'skip':
                    left_out.add(name)
                    continue
                raise ValueError(
                    f'{path}: object[{number}] has the name {brief(name)}, expected '
                    f'one of {list_some(self.CLASSES)}. Set classes to the names of '
                    "your data, or unknown_names='skip' to leave boxes of other names "
                    'out.'
                )
            text = box.findtext('difficult', default='0')
            difficult = read_flag(text)
            if difficult is None:
                raise ValueError(
                    f"{path}: object[{number}] ('{name}') has <difficult>"
                    f'{text.strip():.200}</difficult>, expected 0 or 1.'
                )
            (labels_difficult if difficult else labels).add(label)
        return sorted(labels), sorted(labels_difficult)

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        word = 'left out' if self.unknown_names == 'skip' else 'an error'
        return super().extra_repr() + [f'Boxes of unknown names: \t{word}']


def _boxes(root: ElementTree.Element, path: str) -> list[ElementTree.Element]:
    """The objects of an annotation.

    Objects that are not where VOC has them would be labels that are absent.
    """
    if root.tag.startswith('{'):
        # A namespace, which is part of every name.
        for element in root.iter():
            element.tag = element.tag.rpartition('}')[2]
    boxes = root.findall('object')
    tags = [element.tag.rpartition('}')[2].lower() for element in root.iter()]
    if tags.count('object') != len(boxes):
        raise ValueError(
            f'{path}: expected all <object> directly in <annotation>, the root. The '
            f'root is <{root.tag}>, and has {len(boxes)} of {tags.count("object")} '
            'objects.'
        )
    if not boxes and root.tag != 'annotation':
        raise ValueError(
            f'{path} has the root <{root.tag}>, expected <annotation>. It is no file '
            'in the form of VOC.'
        )
    return boxes
