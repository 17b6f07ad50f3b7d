# SPDX-License-Identifier: Apache-2.0
"""Tables: CSV, TSV or Parquet.

A table has a column of paths and a column per label (1, 0, empty for unknown), or one
column of names, which cannot hold unknown labels.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from ...targets import PRESENT, is_unknown
from ..annotation_files import read_classes
from ..table import PANDAS_INDEX, PARQUET, open_table
from ..tabular_multi_label import (
    LABEL_COLUMN,
    TabularMultiLabel,
    find_label_column,
    find_label_names,
)
from .files import encode_lines
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels

SPLIT_COLUMN = 'split'
SUFFIXES = ('.csv', '.tsv', '.parquet', '.pq')


class TableForm(Form):
    """A table with one row per image."""

    name = 'table'
    looks = f'a table (a name that ends with one of {SUFFIXES})'
    has_splits = True
    has_groups = True

    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a path has the suffix of a table."""
        return path.suffix.lower() in SUFFIXES

    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read the rows, or those of one split."""
        classes = options.classes
        if classes is None:
            classes = _find_classes(path, options)
        dataset = TabularMultiLabel(
            str(path),
            image_column=options.image_column,
            label_column=options.label_column,
            separator=options.separator,
            split=options.split,
            unstated_as=options.unstated_as,
            delimiter=options.delimiter,
            classes=classes,
            serialize_data=False,
        )
        return ImageLabels.from_dataset(dataset)

    def holds_unknown(self, options: WriteOptions) -> bool:
        """Whether there is one column per label."""
        return options.style != 'names'

    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Make the table and, for a column of names, the file of all names."""
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"A table's name must end with one of {SUFFIXES}, got "
                f"'{path.suffix.lower()}'."
            )
        if options.style == 'names':
            # The table does not hold names that no image has, nor the names' order.
            names = (_classes_file(path), encode_lines(labels.classes))
            files = [names, (path, _column_of_names(labels, path, options))]
        else:
            files = [(path, _columns(labels, path, options))]
        return lambda: files

    def dataset_config(self, path: str, options: WriteOptions) -> dict:
        """The config of a ``TabularMultiLabel``."""
        config = dict(type='TabularMultiLabel', ann_file=path)
        if options.image_column != 'image':
            config['image_column'] = options.image_column
        if options.style == 'names':
            config['classes'] = str(_classes_file(Path(path)))
            if options.label_column:
                config['label_column'] = options.label_column
            if options.separator != ';':
                config['separator'] = options.separator
        return config | dict(data_prefix=dict(img_path=options.image_folder))


def _classes_file(table: Path) -> Path:
    """The file beside a table of names that holds all names, in their order."""
    return table.with_name(f'{table.name}.classes.txt')


def _find_classes(path: Path, options: ReadOptions) -> Sequence[str] | None:
    """The names of a table; None for one column per label and no other column."""
    with open_table(str(path), delimiter=options.delimiter) as table:
        columns = table.columns
    column = find_label_column(columns, options.label_column)
    if column is None:
        if options.group is None:
            return None
        others = {options.image_column, options.group}
        if options.split is not None:
            others.add(SPLIT_COLUMN)
        return [name for name in columns if name not in others]
    if _classes_file(path).is_file():
        return read_classes(_classes_file(path))
    return find_label_names(str(path), column, options.separator, options.delimiter)


def _columns(labels: ImageLabels, path: Path, options: WriteOptions) -> bytes:
    """A column of paths and one per label."""
    for name in labels.classes:
        if name in (options.image_column, LABEL_COLUMN):
            raise ValueError(
                f"The label '{name}' would have a column that is read as something "
                "else: the column of paths (image_column) or, for 'labels', of names. "
                'Rename the label or the column of paths, or choose another form.'
            )
        if path.suffix.lower() in PARQUET and name.startswith(PANDAS_INDEX):
            raise ValueError(
                f"The label '{name}' is called like an index of pandas, which readers "
                'of Parquet leave out. Rename it, or write CSV.'
            )
    values = labels.targets.toarray()
    header = [options.image_column, *labels.classes]
    if path.suffix.lower() not in PARQUET:
        cells = values.astype(object)
        cells[is_unknown(values)] = ''
        rows = ([image, *row] for image, row in zip(labels.images, cells.tolist()))
        return _encode_text(header, rows, path)
    columns = pd.DataFrame(values, columns=list(labels.classes)).astype('Int8')
    paths = pd.DataFrame({options.image_column: list(labels.images)}, dtype='object')
    return _encode_parquet(pd.concat([paths, columns.mask(is_unknown(values))], axis=1))


def _column_of_names(labels: ImageLabels, path: Path, options: WriteOptions) -> bytes:
    """A column of paths and one of names."""
    label_column, separator = options.label_column or LABEL_COLUMN, options.separator
    if label_column == options.image_column:
        raise ValueError(
            "Paths and names of labels need two columns, got '"
            f"{options.image_column}' for both (image_column and label_column)."
        )
    if not separator:
        raise ValueError('separator must not be empty.')
    if label_column in labels.classes:
        raise ValueError(
            f"The label '{label_column}' is called like the column of names, which "
            'would be read as its own. Choose another label_column, or rename the '
            'label.'
        )
    for name in labels.classes:
        if separator in name or name != name.strip():
            raise ValueError(
                f"The label name '{name}' holds the separator '{separator}' or begins "
                'or ends with a blank, so a column of names cannot hold it. Choose '
                'another separator, or one column per label.'
            )
    names = [
        separator.join(labels.classes[i] for i in labels.labels_of(row, PRESENT))
        for row in range(len(labels.images))
    ]
    if path.suffix.lower() not in PARQUET:
        header = [options.image_column, label_column]
        return _encode_text(header, zip(labels.images, names), path)
    frame = pd.DataFrame({options.image_column: list(labels.images)}, dtype='object')
    frame[label_column] = names
    return _encode_parquet(frame)


def _encode_text(header: Sequence[str], rows: Iterable[Iterable], path: Path) -> bytes:
    text = io.StringIO()
    # pandas would convert each of thousands of columns anew for every few rows.
    writer = csv.writer(
        text,
        delimiter='\t' if path.suffix.lower() == '.tsv' else ',',
        # In quotes, names such as NA or 1e5 are read as text.
        quoting=csv.QUOTE_NONNUMERIC,
        lineterminator='\n',
    )
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _encode_parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
