# SPDX-License-Identifier: Apache-2.0
"""Read tables row by row: CSV, TSV and Parquet."""

import contextlib
import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, TextIO

from mmengine import fileio

from ..local_files import check_regular
from ..plain_text import list_some

# How the columns begin that pandas adds for the index of a frame.
PANDAS_INDEX = '__index_level_'
DELIMITERS = {'.csv': ',', '.tsv': '\t'}
PARQUET = ('.parquet', '.pq')
BATCH_ROWS = 1024
# The largest value that csv takes on all platforms.
MAX_FIELD = 2**31 - 1


class TextTable:
    """A CSV or TSV file.

    Read by Python's ``csv``, not by pandas, which silently fills short rows and renames
    repeated columns: an incomplete file would be a table with unknown labels.

    Args:
        file (TextIO): The open file.
        path (str): Its path, for errors.
        delimiter (str): What separates fields.
    """

    def __init__(self, file: TextIO, path: str, delimiter: str) -> None:
        self.path = path
        # The default limit is too small for thousands of names in one field.
        csv.field_size_limit(MAX_FIELD)
        self._rows = self._read(csv.reader(file, delimiter=delimiter, strict=True))
        self.columns = tuple(next(self._rows, (0, ()))[1])

    def _read(self, reader: Any) -> Iterator[tuple[int, list[str]]]:
        number = 0
        try:
            for number, row in enumerate(reader, 1):
                # Blank lines, as at the end of many files.
                if row:
                    yield number, row
        except csv.Error as error:
            raise ValueError(
                f'{self.path}, row {number + 1}: {error}. Is a quote missing?'
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{self.path} is not UTF-8 text: {error}. Save it in UTF-8.'
            ) from error

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Give the rows below the header, once.

        Args:
            columns (Sequence[str]): The columns to take.

        Yields:
            tuple[int, list[str]]: The number of the row (the header is row 1) and its
            cells.
        """
        places = {column: index for index, column in enumerate(self.columns)}
        indices = [places[column] for column in columns]
        for number, row in self.whole_rows():
            yield number, [row[index] for index in indices]

    def whole_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Give all cells of the rows below the header, once.

        Several columns may have no name.

        Yields:
            tuple[int, list[str]]: The number of the row (the header is row 1) and its
            cells.
        """
        width = len(self.columns)
        for number, row in self._rows:
            if len(row) != width:
                raise ValueError(
                    f'{self.path}, row {number} has {len(row)} fields, expected '
                    f'{width} as in the header. Is the file incomplete, or a field '
                    'with a separator not in quotes?'
                )
            yield number, row


class ParquetTable:
    """A Parquet file, read in batches of rows.

    Args:
        file (str): The local file.
        path (str): The path, for errors.
    """

    def __init__(self, file: str, path: str) -> None:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError as error:
            raise ImportError(
                f'Reading {path} needs pyarrow: pip install pyarrow.'
            ) from error
        self.path = path
        self._error = ArrowException
        try:
            self._file = parquet.ParquetFile(file)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise
        # Damaged footers raise OSError.
        except (ArrowException, OSError) as error:
            raise ValueError(
                f'{path} is no Parquet file, or an incomplete one: {error}'
            ) from error
        names = self._file.schema_arrow.names
        self.columns = tuple(n for n in names if not n.startswith(PANDAS_INDEX))

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, list]]:
        """Give all rows.

        Args:
            columns (Sequence[str]): The columns to take.

        Yields:
            tuple[int, list]: The number of the row, from 1, and its cells.
        """
        numbers = itertools.count(1)
        try:
            for batch in self._file.iter_batches(BATCH_ROWS, columns=list(columns)):
                cells = [batch.column(name).to_pylist() for name in columns]
                for row in zip(*cells):
                    yield next(numbers), list(row)
        # Damaged pages raise OSError.
        except (self._error, OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f'{self.path} cannot be read: {error}. The file may be incomplete.'
            ) from error


@contextlib.contextmanager
def open_table(
    path: str, data_root: str = '', delimiter: str | None = None
) -> Iterator[TextTable | ParquetTable]:
    """Open a table, local or remote.

    Args:
        path (str): A file ``.csv``, ``.tsv``, ``.parquet`` or ``.pq``; with
            ``delimiter``, text under any name.
        data_root (str): The dataset's ``data_root``, for errors. Defaults to ''.
        delimiter (str, optional): What separates fields of text. Defaults to None: a
            comma in ``.csv``, a tab in ``.tsv``.

    Yields:
        TextTable | ParquetTable: With ``columns``, the names of the columns, and
        ``rows(columns)``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no table, or a pipe, or has a column twice.
    """
    check_regular(path)
    suffix = PurePath(path).suffix.lower()
    delimiter = delimiter or DELIMITERS.get(suffix)
    if delimiter is None and suffix not in PARQUET:
        raise ValueError(
            f"Tables are {[*DELIMITERS, *PARQUET]} files, got '{path}'. Set delimiter "
            "to read text under another name: delimiter=','."
        )
    if delimiter is not None and len(delimiter) != 1:
        raise ValueError(f'delimiter must be one character, got {delimiter!r}.')
    with contextlib.ExitStack() as stack:
        try:
            local = stack.enter_context(fileio.get_local_path(path))
            table: TextTable | ParquetTable
            if delimiter is None:
                table = ParquetTable(local, path)
            else:
                # utf-8-sig: UTF-8 of Excel begins with a byte order mark.
                file = stack.enter_context(
                    open(local, newline='', encoding='utf-8-sig')
                )
                table = TextTable(file, path, delimiter)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f"There is no table '{path}'. Check ann_file and data_root "
                f"(data_root='{data_root}')."
            ) from error
        except IsADirectoryError as error:
            raise ValueError(f'{path} is a folder, expected a table.') from error
        counts = Counter(table.columns)
        repeated = sorted(c for c, count in counts.items() if count > 1 and c)
        if repeated:
            raise ValueError(
                f'{path} has the columns {list_some(repeated)} more than once.'
            )
        yield table
