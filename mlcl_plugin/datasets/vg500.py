# SPDX-License-Identifier: Apache-2.0
"""VG500: Visual Genome with its 500 most frequent labels."""

from collections.abc import Sequence

import msgspec
from mmengine import fileio
from mmengine.utils import is_abs
from mmpretrain.registry import DATASETS

from .annotation_files import (
    check_classes,
    decode_json,
    read_annotation_file,
    read_image_list,
)
from .labelled_images import LabelledImages


@DATASETS.register_module()
class VG500(LabelledImages):
    """Visual Genome (Krishna et al., IJCV 2017) with its 500 most frequent labels.

    The split and the files are those of SSGRL (Chen et al., ICCV 2019): ::

        vg500
        ├── VG_100K                             the images of both parts
        │   ├── 2407890.jpg
        │   └── ...
        ├── train_list_500.txt                  82,904 file names
        ├── test_list_500.txt                   10,000 file names
        └── vg_category_500_labels_index.json   {"2407890.jpg": [3, 77, ...], ...}

    Items are those of :class:`LabelledImages`, in the order of the list.

    Args:
        data_root (str): The root of relative paths. Defaults to ''.
        split (str): 'train' or 'test', which names the list of images. Defaults to
            'train'.
        ann_file (str): The labels of all images, relative to ``data_root`` or absolute.
            Defaults to 'vg_category_500_labels_index.json'.
        image_list (str, optional): Another list of images, one file name per line,
            relative to ``data_root`` or absolute. Defaults to None: that of the split.
        data_prefix (str | dict): The folder of the images, as a string or as
            ``dict(img_path=...)``. Defaults to 'VG_100K'.
        keep_unlabelled (bool): Keep images without any label, with an empty
            ``gt_label``. Defaults to True, as in published results.
        num_classes (int): The number of labels, if they have no names. Defaults to 500.
        metainfo, cache_dir: See :class:`LabelledImages`.
        **kwargs: Passed on to :class:`LabelledImages`.
        classes (str | Sequence[str], optional): The names of all labels in the order of
            their index, or the path of a file with one name per line. Defaults to None:
            'label 0', 'label 1', ..., since the files above have no names.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If a file is malformed, an image of the list has no labels in
            ``ann_file``, a label is out of range, or no image is left.

    Examples:
        >>> from mlcl_plugin.datasets import VG500
        >>> dataset = VG500(  # doctest: +SKIP
        ...     data_root='data/vg500', split='test')
        >>> len(dataset), len(dataset.metainfo['classes'])  # doctest: +SKIP
        (10000, 500)
    """

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        ann_file: str = 'vg_category_500_labels_index.json',
        image_list: str | None = None,
        data_prefix: str | dict = 'VG_100K',
        keep_unlabelled: bool = True,
        num_classes: int = 500,
        metainfo: dict | None = None,
        classes: str | Sequence[str] | None = None,
        cache_dir: str | None = None,
        **kwargs,
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(
                f"split must be 'train' or 'test', got '{split}'. Name another list of "
                'images with image_list.'
            )
        if (
            isinstance(num_classes, bool)
            or not isinstance(num_classes, int)
            or num_classes < 1
        ):
            raise ValueError(
                f'num_classes must be an int of 1 or more, got {num_classes!r}.'
            )
        self.split = split
        self.image_list = image_list or f'{split}_list_500.txt'
        self.keep_unlabelled = keep_unlabelled
        self.num_classes = num_classes
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            metainfo=metainfo,
            classes=classes,
            cache_dir=cache_dir,
            **kwargs,
        )

    def _join_prefix(self) -> None:
        super()._join_prefix()
        if self.data_root and not is_abs(self.image_list):
            self.image_list = fileio.join_path(self.data_root, self.image_list)

    def load_data_list(self) -> list[dict]:
        """Read the list of images and their labels, and set ``metainfo['classes']``.

        Returns:
            list[dict]: One dict per image, with ``img_path`` and ``gt_label``.
        """
        classes = self._metainfo.get('classes')
        if classes is None:
            classes = [f'label {number}' for number in range(self.num_classes)]
        classes = self._metainfo['classes'] = check_classes(classes)
        options = dict(keep_unlabelled=self.keep_unlabelled, num_classes=len(classes))
        data_list, _ = self.fetch(
            options,
            [self.image_list, self.ann_file],
            lambda: (self._read(len(classes)), ()),
        )
        return data_list

    def _read(self, num_classes: int) -> list[dict]:
        """The images with their labels."""
        names = read_image_list(self.image_list, 'split, image_list', self.data_root)
        labels_of = self._read_labels()
        paths = self.image_paths(self.image_list)
        data_list = []
        for name in names:
            if name not in labels_of:
                raise ValueError(
                    f"{self.ann_file} has no labels for '{name}', which "
                    f'{self.image_list} lists. It has those of {len(labels_of)} '
                    f"images, such as '{next(iter(labels_of), None)}'."
                )
            labels = sorted(set(labels_of[name]))
            if labels and not 0 <= labels[0] <= labels[-1] < num_classes:
                wrong = labels[0] if labels[0] < 0 else labels[-1]
                raise ValueError(
                    f"{self.ann_file}: '{name}' has the label {wrong}, expected "
                    f'indices from 0 to {num_classes - 1}. Set num_classes, or classes '
                    'to the names of all labels.'
                )
            if labels or self.keep_unlabelled:
                data_list.append(dict(img_path=paths.join(name), gt_label=labels))
        if not data_list:
            raise ValueError(
                f'{self.image_list}: none of the {len(names)} images has a label. '
                'Set keep_unlabelled=True to keep images without labels.'
            )
        return data_list

    def _read_labels(self) -> dict[str, list[int]]:
        content = read_annotation_file(
            self.ann_file, 'annotation file', 'ann_file', self.data_root
        )
        try:
            return msgspec.json.decode(content, type=dict[str, list[int]])
        except msgspec.ValidationError as error:
            raise ValueError(
                f'{self.ann_file}: {error}. Expected an object with a list of label '
                'indices for every file name: {"1.jpg": [3, 77], ...}.'
            ) from error
        except (ValueError, RecursionError) as error:
            # Says what is wrong with it.
            decode_json(content, self.ann_file)
            raise ValueError(f'{self.ann_file} cannot be read: {error}') from error

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        return [
            f'List of images: \t{self.image_list}',
            *super().extra_repr(),
            f'Unlabelled images: \t{"kept" if self.keep_unlabelled else "left out"}',
        ]
