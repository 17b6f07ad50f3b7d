# SPDX-License-Identifier: Apache-2.0
"""A table of images and labels as a multi-label classification dataset."""

import re
from collections.abc import Sequence

import numpy as np
from mmpretrain.registry import DATASETS

from ..plain_text import brief, list_some
from ..targets import ABSENT, PRESENT, UNKNOWN
from .annotation_files import check_classes
from .label_spelling import warn_left_out
from .labelled_images import LabelledImages
from .name_cells import (
    NOTHING,
    holds_known,
    question_list,
    question_name,
    split_names,
)
from .table import open_table

LABEL_COLUMN = 'labels'
# Targets of cells, text and numbers: as keys of a dict, 1.0 and True equal 1.
VALUES: dict[object, int] = {
    **dict.fromkeys(('1', '1.0', 1, 'True', 'TRUE', 'true'), PRESENT),
    **dict.fromkeys(('0', '0.0', 0, 'False', 'FALSE', 'false'), ABSENT),
    **dict.fromkeys(('', None, *NOTHING), UNKNOWN),
}
# Other ways to write 1 and 0, such as 1.00.
NUMBER = re.compile(r'0*([01])(\.0*)?')


@DATASETS.register_module()
class TabularMultiLabel(LabelledImages):
    """Your own photographs with their labels in a CSV, TSV or Parquet table.

    A table has one row per image, with its path in one column and its labels in one of
    two forms.

    One column per label, with 1 or true (present), 0 or false (absent), or nothing
    (unknown): ::

        image,cat,dog,traffic light
        0001.jpg,1,0,0
        0002.jpg,0,1,

    One column of names, separated by ``;``. Labels that are not named are absent: ::

        image,labels
        0001.jpg,cat
        0002.jpg,dog;traffic light
        0003.jpg,

    Text is UTF-8, with fields in quotes where they hold the delimiter. Numbers may be
    written as 1.0 and 0.0, as pandas does in columns with gaps, and nothing as NaN or
    None. Parquet files may hold numbers, booleans, text and null, and lists of strings
    for names.

    Items are those of :class:`LabelledImages`, with ``gt_score`` (np.ndarray ``(L,)``
    int8 in {1, 0, -1}). The pipeline needs no :class:`LabelsToTargets`.

    Args:
        ann_file (str): The table, relative to ``data_root`` or absolute: a file
            ``.csv``, ``.tsv``, ``.parquet`` or ``.pq``.
        data_root (str): The root of relative paths. Defaults to ''.
        data_prefix (str | dict): The folder of the images, as a string or as
            ``dict(img_path=...)``. Defaults to ''.
        image_column (str): The column of the paths. Defaults to 'image'.
        label_column (str, optional): The column of names. Defaults to None: the column
            'labels' if there is one and it is not among ``classes``; otherwise the
            table has one column per label.
        separator (str): What separates names. Blanks around names are ignored. Defaults
            to ';'.
        split (str, optional): Take only rows that have this in ``split_column``.
            Blanks around it do not matter; the same word in other letters (Train,
            train) is an error. Defaults to None: all rows.
        split_column (str): The column of the splits. Defaults to 'split'.
        unstated_as (int, optional): What an empty cell or a label that is not named
            means: -1 (unknown) or 0 (absent). Defaults to None: unknown with one column
            per label, absent with a column of names.
        unknown_names (str): What to do with names that are not in ``classes``: 'error'
            or 'skip'. Defaults to 'error'.
        delimiter (str, optional): What separates the fields of text. Defaults to None:
            a comma in ``.csv``, a tab in ``.tsv``.
        metainfo, cache_dir: See :class:`LabelledImages`.
        **kwargs: Passed on to :class:`LabelledImages`.
        classes (str | Sequence[str], optional): The names of the labels in the order of
            their index, or the path of a file with one name per line. With one column
            per label, the columns to use; defaults to None: all other columns in their
            order. A column of names needs ``classes``: two tables of one data set
            seldom name the same labels, so that a label would get different indices.
            :func:`find_label_names` finds the names in a table.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If the table lacks a column or has one twice, a row has too few or
            too many fields, no path or the path of another row, a value is not 1, 0 or
            nothing, a name is not in ``classes``, or no row is left. Errors name file,
            row and column; rows are counted from 1, including the header of text.

    Examples:
        >>> from mlcl_plugin.datasets import TabularMultiLabel
        >>> dataset = TabularMultiLabel(  # doctest: +SKIP
        ...     'train.csv', data_root='data/photos', data_prefix='images')
        >>> dataset.metainfo['classes'], dataset[1]['gt_score']  # doctest: +SKIP
        (('cat', 'dog', 'traffic light'), array([ 0,  1, -1], dtype=int8))
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str | dict = '',
        image_column: str = 'image',
        label_column: str | None = None,
        separator: str = ';',
        split: str | None = None,
        split_column: str = 'split',
        unstated_as: int | None = None,
        unknown_names: str = 'error',
        delimiter: str | None = None,
        metainfo: dict | None = None,
        classes: str | Sequence[str] | None = None,
        cache_dir: str | None = None,
        **kwargs,
    ) -> None:
        if unstated_as not in (None, UNKNOWN, ABSENT):
            raise ValueError(
                f'unstated_as must be -1 (unknown) or 0 (absent), got {unstated_as!r}.'
            )
        if unknown_names not in ('error', 'skip'):
            raise ValueError(
                f"unknown_names must be 'error' or 'skip', got '{unknown_names}'."
            )
        if not separator or not isinstance(separator, str):
            raise ValueError(f'separator must be a string, got {separator!r}.')
        columns = dict(image_column=image_column, label_column=label_column)
        if split is not None:
            columns['split_column'] = split_column
        if len(set(columns.values())) < len(columns):
            raise ValueError(f'Columns must be different, got {columns}.')
        self.image_column = image_column
        self.label_column = label_column
        self.separator = separator
        self.split = split
        self.split_column = split_column
        self.unstated_as = unstated_as
        self.unknown_names = unknown_names
        self.delimiter = delimiter
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
        """Read the table and set ``metainfo['classes']``.

        Returns:
            list[dict]: One dict per image, with ``img_path``, ``gt_label`` and the
            indices of the ``unknown`` or of the ``absent`` labels, whichever are fewer:
            in tables of thousands of labels, most are one or the other.
        """
        classes = self._metainfo.get('classes')
        if classes is not None:
            classes = check_classes(classes)
        options = dict(
            image_column=self.image_column,
            label_column=self.label_column,
            separator=self.separator,
            split=self.split,
            split_column=self.split_column,
            unstated_as=self.unstated_as,
            unknown_names=self.unknown_names,
            delimiter=self.delimiter,
            classes=classes,
        )
        data_list, found = self.fetch(
            options, [self.ann_file], lambda: self._read(classes)
        )
        self._metainfo['classes'] = tuple(found)
        return data_list

    def get_data_info(self, idx: int) -> dict:
        """The annotation of an image.

        Args:
            idx (int): The index of the image.

        Returns:
            dict: ``img_path``, ``gt_score``, ``gt_label`` and ``sample_idx``.
        """
        info = super().get_data_info(idx)
        score = np.zeros(len(self._metainfo['classes']), dtype=np.int8)
        if 'absent' in info:
            score.fill(UNKNOWN)
            score[info.pop('absent')] = ABSENT
        else:
            score[info.pop('unknown')] = UNKNOWN
        score[info['gt_label']] = PRESENT
        info['gt_score'] = score
        return info

    def _read(self, classes: tuple[str, ...] | None) -> tuple[list[dict], Sequence]:
        """The images with their labels, and the names of the labels."""
        with open_table(self.ann_file, self.data_root, self.delimiter) as table:
            self._check_column(table.columns, self.image_column, 'image_column')
            taken = [self.image_column]
            if self.split is not None:
                self._check_column(table.columns, self.split_column, 'split_column')
                taken.append(self.split_column)
            by_name = find_label_column(table.columns, self.label_column, classes)
            if by_name:
                self._check_column(table.columns, by_name, 'label_column')
                classes = self._check_names(classes, by_name)
                columns: Sequence[str] = [by_name]
            else:
                classes = columns = self._check_labels(table.columns, taken, classes)
            index = {name: label for label, name in enumerate(classes)}
            paths = self.image_paths()
            data_list, splits = [], set()
            wanted = None if self.split is None else str(self.split).strip()
            rows: dict[str, int] = {}
            left_out: set[str] = set()
            for number, cells in table.rows([*taken, *columns]):
                path, labels = cells[0], cells[len(taken) :]
                if wanted is not None:
                    split = str(cells[1]).strip()
                    splits.add(split)
                    if split != wanted:
                        self._check_split(split, wanted, number)
                        continue
                self._check_path(path, number, rows)
                if by_name:
                    scores, others = self._parse_names(
                        labels[0], index, number, by_name
                    )
                    left_out |= others
                else:
                    scores = self._parse_values(labels, columns, number)
                data_list.append(dict(img_path=paths.join(path), **scores))
        warn_left_out(self.ann_file, left_out, classes)
        if not data_list:
            split = f" in split '{self.split}', only in {sorted(splits)}"
            raise ValueError(
                f'{self.ann_file} has no image'
                + (split if splits else ' below its header')
                + '.'
            )
        return data_list, classes

    def _where(self, number: int, column: str) -> str:
        return f"{self.ann_file}, row {number}, column '{column}'"

    def _check_column(self, columns: Sequence[str], name: str, option: str) -> None:
        if name not in columns:
            raise ValueError(
                f"{self.ann_file} has no column '{name}', it has {list_some(columns)}. "
                f'Set {option}, or delimiter if the columns are not separated.'
            )

    def _check_split(self, split: str, wanted: str, number: int) -> None:
        """Refuse another split whose name is this one's in other letters."""
        if split.casefold() == wanted.casefold():
            raise ValueError(
                f'{self._where(number, self.split_column)} holds {split!r}, which is '
                f'not {wanted!r} for its capital letters. Write one of them in all '
                f'rows, or set split={split!r}.'
            )

    def _check_names(
        self, classes: tuple[str, ...] | None, column: str
    ) -> tuple[str, ...]:
        """The labels of a table with a column of names."""
        if classes is None:
            raise ValueError(
                f"{self.ann_file} has a column of names, '{column}', which needs "
                'classes: the names of all labels, the same for all tables of the data '
                'set, as a list or as the path of a file with one name per line. Find '
                'those in this table with find_label_names, or write one column per '
                'label.'
            )
        for name in classes:
            if self.separator in name or name != name.strip() or not name:
                raise ValueError(
                    f"'classes' has {name!r}, which a list of names separated by "
                    f'{self.separator!r} cannot hold. Set separator, or write one '
                    'column per label.'
                )
        return classes

    def _check_labels(
        self,
        columns: Sequence[str],
        taken: Sequence[str],
        classes: tuple[str, ...] | None,
    ) -> tuple[str, ...]:
        """The labels of a table with one column per label."""
        if classes is None:
            classes = tuple(name for name in columns if name not in taken)
            if '' in classes:
                raise ValueError(
                    f'{self.ann_file}: column {columns.index("") + 1} has no name. Set '
                    'classes to the columns that are labels, or write the table '
                    'without its index.'
                )
        free = set(columns).difference(taken)
        absent = [name for name in classes if name not in free]
        if absent or not classes:
            missing = f' {list_some(absent)}' if absent else ''
            raise ValueError(
                f'{self.ann_file} has no column of labels{missing}, it has '
                f'{list_some(columns)}. '
                'Check classes, or label_column if a column holds names of labels.'
            )
        return classes

    def _check_path(self, path: object, number: int, rows: dict[str, int]) -> None:
        where = self._where(number, self.image_column)
        if not isinstance(path, str) or not path:
            raise ValueError(
                f'{where} holds {path!r}, expected the path of an image file.'
            )
        first = rows.setdefault(path, number)
        if first != number:
            raise ValueError(
                f"{where} holds '{path}', as row {first} does. Write one row per image."
            )

    def _parse_values(
        self, cells: Sequence, columns: Sequence[str], number: int
    ) -> dict[str, list[int]]:
        try:
            values = [VALUES[cell] for cell in cells]
        except (KeyError, TypeError):
            values = [
                self._parse_value(cell, number, column)
                for cell, column in zip(cells, columns)
            ]
        if self.unstated_as == ABSENT:
            values = [ABSENT if value == UNKNOWN else value for value in values]
        present, unknown, absent = (
            [label for label, value in enumerate(values) if value == wanted]
            for wanted in (PRESENT, UNKNOWN, ABSENT)
        )
        if len(absent) < len(unknown):
            return dict(gt_label=present, absent=absent)
        return dict(gt_label=present, unknown=unknown)

    def _parse_value(self, cell: object, number: int, column: str) -> int:
        # Missing numbers are NaN, which does not equal itself.
        value = None if cell != cell else cell
        if isinstance(value, str):
            value = value.strip()
            match = NUMBER.fullmatch(value)
            value = match[1] if match else value
        try:
            return VALUES[value]
        except (KeyError, TypeError):
            hint = ' Set classes if not all columns are labels.'
            if str(value) in ('-1', '-1.0'):
                hint = (
                    ' Some tools write -1 for absent, others for unknown: write 0, or '
                    'nothing.'
                )
            raise ValueError(
                f'{self._where(number, column)} holds {brief(cell)}, expected 1 or '
                'true (present), 0 or false (absent), or nothing (unknown).' + hint
            ) from None

    def _parse_names(
        self, cell: object, index: dict[str, int], number: int, column: str
    ) -> tuple[dict[str, list[int]], set[str]]:
        """The labels of a cell, and names that are to be left out."""
        names = split_names(cell, self.separator)
        if names is None:
            raise ValueError(
                f'{self._where(number, column)} holds {brief(cell)}, expected names '
                f'separated by {self.separator!r}.'
            )
        present, left_out = set(), set()
        for name in names:
            if name in index:
                present.add(index[name])
            else:
                self._check_unknown(name, cell, index, self._where(number, column))
                left_out.add(name)
        # All other labels are unknown, or all are absent.
        listed = 'absent' if self.unstated_as == UNKNOWN else 'unknown'
        return {'gt_label': sorted(present), listed: []}, left_out

    def _check_unknown(
        self, name: str, cell: object, index: dict[str, int], where: str
    ) -> None:
        """Refuse a name that is no class, unless it is to be left out."""
        doubt = question_list(cell)
        if doubt:
            raise ValueError(f'{where} holds {brief(cell)}, which {doubt}.')
        doubt = question_name(name, self.separator, index)
        if self.unknown_names == 'error':
            hint = f' The name {doubt}.' if doubt else ''
            raise ValueError(
                f'{where} names {brief(name)}, expected some of the {len(index)} '
                f'classes {list_some(index)}.{hint} Set '
                "unknown_names='skip' to leave other names out."
            )
        # Left out, the classes in it would be absent without a word.
        if holds_known(name, self.separator, index):
            raise ValueError(f'{where} names {brief(name)}, which {doubt}.')

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        split = 'all rows' if self.split is None else self.split
        return [*super().extra_repr(), f'Split: \t{split}']


def find_label_column(
    columns: Sequence[str],
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
) -> str | None:
    """Find the column of names of a table, None if it has one column per label.

    Args:
        columns (Sequence[str]): The columns of the table.
        label_column (str, optional): The column that a user names. Defaults to None.
        classes (Sequence[str], optional): The labels that a user names. Defaults to
            None.
    """
    if label_column is not None:
        return label_column
    is_label = classes is not None and LABEL_COLUMN in classes
    return LABEL_COLUMN if LABEL_COLUMN in columns and not is_label else None


def find_label_names(
    ann_file: str,
    label_column: str = LABEL_COLUMN,
    separator: str = ';',
    delimiter: str | None = None,
) -> tuple[str, ...]:
    """Find all names in a table's column of names, sorted.

    Args:
        ann_file (str): The table.
        label_column (str): The column. Defaults to 'labels'.
        separator (str): What separates names. Defaults to ';'.
        delimiter (str, optional): See :class:`TabularMultiLabel`. Defaults to None.

    Returns:
        tuple[str, ...]: The names.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If it has no such column, a cell does not hold names, or a name may
            be several names: it holds another character that often separates names, or
            looks like a list of Python or JSON. If the names are meant like this, give
            ``classes`` to what reads the table.
    """
    rows: dict[str, int] = {}
    meant = 'If it is the name of a label, give the names of all labels (classes).'
    with open_table(ann_file, delimiter=delimiter) as table:
        if label_column not in table.columns:
            raise ValueError(
                f"{ann_file} has no column '{label_column}', it has "
                f'{list_some(table.columns)}. Set label_column.'
            )
        for number, (cell,) in table.rows([label_column]):
            where = f"{ann_file}, row {number}, column '{label_column}'"
            found = split_names(cell, separator)
            if found is None:
                raise ValueError(
                    f'{where} holds {brief(cell)}, expected names separated by '
                    f'{separator!r}.'
                )
            doubt = question_list(cell)
            if doubt:
                raise ValueError(f'{where} holds {brief(cell)}, which {doubt}. {meant}')
            for name in found:
                rows.setdefault(name, number)
    for name, number in rows.items():
        doubt = question_name(name, separator, rows)
        if doubt:
            raise ValueError(
                f"{ann_file}, row {number}, column '{label_column}' names "
                f'{brief(name)}, which {doubt}. {meant}'
            )
    return tuple(sorted(rows))
