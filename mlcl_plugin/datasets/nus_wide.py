# SPDX-License-Identifier: Apache-2.0
"""NUS-WIDE with its 81 concepts as a multi-label classification dataset."""

import ast
import csv
import io
import logging
from collections.abc import Sequence

import numpy as np
from mmengine import fileio
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from .annotation_files import (
    check_classes,
    read_annotation_text,
    read_image_list,
)
from .labelled_images import LabelledImages

# In the order of Concepts81.txt, that of the columns of the joined labels.
CONCEPTS = tuple(
    'airport animal beach bear birds boats book bridge buildings cars castle cat '
    'cityscape clouds computer coral cow dancing dog earthquake elk fire fish flags '
    'flowers food fox frost garden glacier grass harbor horses house lake leaf map '
    'military moon mountain nighttime ocean person plane plants police protest '
    'railroad rainbow reflection road rocks running sand sign sky snow soccer sports '
    'statue street sun sunset surf swimmers tattoo temple tiger tower town toy train '
    'tree valley vehicle water waterfall wedding whales window zebra'.split()
)
CSV_COLUMNS = ('filepath', 'label', 'split_name')


@DATASETS.register_module()
class NUSWIDE(LabelledImages):
    r"""NUS-WIDE (Chua et al., CIVR 2009), photographs of Flickr with 81 concepts.

    Reads the official lists: ::

        nus_wide
        ├── Flickr
        │   ├── actor
        │   │   ├── 0001_2124494179.jpg
        │   │   └── ...
        │   └── ...
        ├── ImageList
        │   ├── TrainImagelist.txt    161,789 lines, actor\0001_2124494179.jpg
        │   └── TestImagelist.txt     107,859 lines
        └── Groundtruth
            └── TrainTestLabels
                ├── Labels_airport_Train.txt    one 0 or 1 per line
                └── ...

    Instead of one file per concept, ``TrainTestLabels`` may hold ``Labels_Train.txt``
    and ``Labels_Test.txt`` with 81 numbers per line.

    With ``ann_file``, the split that ASL's authors published is read instead, a CSV
    file with the columns ``filepath``, ``label`` (a list of names as text, such as
    ``['clouds', 'sky']``) and ``split_name`` ('train' or 'val').

    About 22 % of the photographs have none of the concepts. Some papers keep them,
    others do not, and results with and without them cannot be compared: say which you
    report. They are left out unless ``keep_unlabelled=True``.

    Many of the photographs have vanished from Flickr, and copies of the data set differ
    in what they still have: see ``missing``.

    Items are those of :class:`LabelledImages`.

    Args:
        data_root (str): The root of relative paths. Defaults to ''.
        split (str): 'train' or 'test' with the official lists, with ``ann_file`` any
            split named there. Defaults to 'train'.
        ann_file (str): The CSV file, relative to ``data_root`` or absolute. Defaults
            to '', which reads the official lists.
        data_prefix (str | dict, optional): The folder of the images, as a string or as
            ``dict(img_path=...)``. Defaults to None: 'Flickr' with the official lists,
            ``data_root`` with the CSV file.
        keep_unlabelled (bool): Keep images without any label, with an empty
            ``gt_label``. Defaults to False.
        missing (str): What to do with missing photographs. 'error' does not look for
            them, and loading one fails. 'skip' looks for every photograph at the start,
            leaves out missing ones and logs their number. Defaults to 'error'.
        metainfo, cache_dir: See :class:`LabelledImages`.
        **kwargs: Passed on to :class:`LabelledImages`.
        classes (str | Sequence[str], optional): The names of the labels in the order of
            their index, or the path of a file with one name per line. Other concepts
            are left out. Defaults to None: all 81 in their official, alphabetical
            order.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If a file is malformed or contradicts another one, an option is out
            of range, or no image is left.

    Examples:
        >>> from mlcl_plugin.datasets import NUSWIDE
        >>> dataset = NUSWIDE(  # doctest: +SKIP
        ...     data_root='data/nus_wide', keep_unlabelled=True)
        >>> len(dataset), len(dataset.metainfo['classes'])  # doctest: +SKIP
        (161789, 81)
    """

    METAINFO = {'classes': CONCEPTS}

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        ann_file: str = '',
        data_prefix: str | dict | None = None,
        keep_unlabelled: bool = False,
        missing: str = 'error',
        metainfo: dict | None = None,
        classes: str | Sequence[str] | None = None,
        cache_dir: str | None = None,
        **kwargs,
    ) -> None:
        if not ann_file and split not in ('train', 'test'):
            raise ValueError(
                f"split must be 'train' or 'test' with the official lists, got "
                f"'{split}'. Other splits are for the CSV file (ann_file)."
            )
        if missing not in ('error', 'skip'):
            raise ValueError(f"missing must be 'error' or 'skip', got '{missing}'.")
        if data_prefix is None:
            data_prefix = '' if ann_file else 'Flickr'
        self.split = split
        self.keep_unlabelled = keep_unlabelled
        self.missing = missing
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
        """Read the lists or the CSV file.

        Returns:
            list[dict]: One dict per image, with ``img_path`` and ``gt_label``.
        """
        classes = check_classes(self._metainfo['classes'], CONCEPTS)
        self._metainfo['classes'] = classes
        options = dict(
            split=self.split,
            keep_unlabelled=self.keep_unlabelled,
            classes=classes,
        )
        files = [self.ann_file]
        if not self.ann_file:
            joined = self._joined_labels(classes)
            labels = [joined] if joined else self._concept_labels(classes)
            files = [self._image_list(), *labels]
        data_list, _ = self.fetch(
            options, files, lambda: (self._read(classes), classes)
        )
        return data_list

    def _read(self, classes: tuple[str, ...]) -> list[dict]:
        """The images with their labels."""
        if self.ann_file:
            names, labels = self._read_csv(classes)
        else:
            names, labels = self._read_lists(classes)
        paths = self.image_paths(self._source())
        data_list = [
            dict(img_path=paths.join(name), gt_label=present)
            for name, present in zip(names, labels, strict=True)
            if present or self.keep_unlabelled
        ]
        if not data_list:
            raise ValueError(
                f'{self._source()}: none of the {len(names)} images has one of '
                f'{list(classes)}. Check classes, or set keep_unlabelled=True.'
            )
        return data_list

    def filter_data(self) -> list[dict]:
        """Leave out missing photographs, if ``missing='skip'``."""
        if self.missing == 'error':
            return self.data_list
        backend = fileio.get_file_backend(self.img_prefix, enable_singleton=True)
        there: list[dict] = []
        lost: list[dict] = []
        for item in self.data_list:
            (there if backend.exists(item['img_path']) else lost).append(item)
        if not there:
            raise ValueError(
                f'All {len(lost)} photographs of {self._source()} are missing, such as '
                f"'{lost[0]['img_path']}'. Check data_root (data_root="
                f"'{self.data_root}') and data_prefix."
            )
        if lost:
            print_log(
                f'{self._source()}: {len(lost)} of {len(lost) + len(there)} '
                f"photographs are missing and left out, such as '{lost[0]['img_path']}'"
                '. Results are not those of the full data set.',
                logger='current',
                level=logging.WARNING,
            )
        return there

    def _source(self) -> str:
        return self.ann_file or self._image_list()

    def _path(self, *parts: str) -> str:
        backend = fileio.get_file_backend(self.data_root, enable_singleton=True)
        return backend.join_path(self.data_root, *parts)

    def _image_list(self) -> str:
        return self._path('ImageList', f'{self.split.title()}Imagelist.txt')

    def _concept_labels(self, classes: tuple[str, ...]) -> list[str]:
        """The file of every class."""
        return [self._labels(f'{name}_{self.split.title()}') for name in classes]

    def _joined_labels(self, classes: tuple[str, ...]) -> str | None:
        """The file of all concepts, if it exists instead of single ones."""
        joined = self._labels(self.split.title())
        single = self._concept_labels(classes)[0]
        return joined if fileio.exists(joined) and not fileio.exists(single) else None

    def _labels(self, name: str) -> str:
        return self._path('Groundtruth', 'TrainTestLabels', f'Labels_{name}.txt')

    def _read_lists(
        self, classes: tuple[str, ...]
    ) -> tuple[list[str], list[list[int]]]:
        names = read_image_list(self._image_list(), 'split', self.data_root)
        names = [name.replace('\\', '/') for name in names]
        joined = self._joined_labels(classes)
        if joined:
            columns = [CONCEPTS.index(name) for name in classes]
            table = self._indicators(joined, len(names), len(CONCEPTS))[:, columns]
        else:
            files = self._concept_labels(classes)
            table = np.hstack([self._indicators(f, len(names), 1) for f in files])
        return names, [np.flatnonzero(row).tolist() for row in table]

    def _indicators(self, path: str, rows: int, columns: int) -> np.ndarray:
        """The zeros and ones ``(rows, columns)`` of a file."""
        text = read_annotation_text(path, 'file of labels', 'split', self.data_root)
        wanted = (
            f'{columns} numbers 0 or 1 per line' if columns > 1 else '0 or 1 per line'
        )
        if not text.strip():
            raise ValueError(f'{path} is empty, expected {wanted}.')
        try:
            table = np.loadtxt(
                io.StringIO(text), dtype=np.int64, ndmin=2, comments=None
            )
        except ValueError as error:
            raise ValueError(f'{path}: expected {wanted}, but {error}') from error
        if table.shape != (rows, columns):
            raise ValueError(
                f'{path} has {table.shape[0]} lines of {table.shape[1]} numbers, '
                f'expected {rows} lines of {columns}: one line for each image of '
                f'{self._image_list()}.'
            )
        wrong = np.argwhere((table != 0) & (table != 1))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise ValueError(
                f'{path}: line {row + 1} holds {table[row, column]} as number '
                f'{column + 1}, expected {wanted}.'
            )
        return table.astype(bool)

    def _read_csv(self, classes: tuple[str, ...]) -> tuple[list[str], list[list[int]]]:
        text = read_annotation_text(
            self.ann_file, 'annotation file', 'ann_file', self.data_root
        )
        rows = csv.DictReader(io.StringIO(text, newline=''), strict=True)
        index: dict[str, int | None] = dict.fromkeys(CONCEPTS)
        index |= {name: label for label, name in enumerate(classes)}
        names, labels, splits = [], [], set()
        parsed: dict[str, list[int]] = {}
        try:
            absent = [key for key in CSV_COLUMNS if key not in (rows.fieldnames or ())]
            if absent:
                raise ValueError(
                    f'{self.ann_file} lacks the columns {absent}, it has '
                    f'{rows.fieldnames}.'
                )
            for number, row in enumerate(rows, 2):
                where = f'{self.ann_file}, row {number} (the header is row 1)'
                # DictReader puts fields beyond the last column under None.
                if None in row:
                    raise ValueError(
                        f'{where} has more fields than the header. Put a list of '
                        """names in double quotes: "['clouds', 'sky']"."""
                    )
                name, label, split = (row[key] for key in CSV_COLUMNS)
                if not name or label is None or not split:
                    raise ValueError(
                        f'{where}: a field is missing, expected a value in each of '
                        f'{list(CSV_COLUMNS)}.'
                    )
                splits.add(split)
                if split == self.split:
                    # Most lists occur several times.
                    if label not in parsed:
                        parsed[label] = _parse_names(label, index, where)
                    names.append(name.replace('\\', '/'))
                    labels.append(list(parsed[label]))
        except csv.Error as error:
            raise ValueError(f'{self.ann_file} is not a CSV file: {error}.') from error
        if not names:
            raise ValueError(
                f"{self.ann_file} has no image of split '{self.split}'. The column "
                f"'split_name' holds {sorted(splits)}."
            )
        return names, labels

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        return [
            f'Read from: \t{self._source()}',
            f'Split: \t{self.split}',
            f'Prefix of images: \t{self.img_prefix}',
            f'Unlabelled images: \t{"kept" if self.keep_unlabelled else "left out"}',
            'Missing photographs: \t'
            + ('left out' if self.missing == 'skip' else 'an error'),
        ]


def _parse_names(text: str, index: dict[str, int | None], where: str) -> list[int]:
    """The labels of a list of names as text."""
    try:
        names = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            f"{where}, column 'label' holds {text!r}, expected a list of names such as "
            "['clouds', 'sky']."
        )
    unknown = [name for name in names if name not in index]
    if unknown:
        raise ValueError(
            f"{where}, column 'label' names {unknown}, expected some of the "
            f'{len(CONCEPTS)} concepts {list(CONCEPTS)}.'
        )
    labels = {index[name] for name in names}
    return sorted(label for label in labels if label is not None)
