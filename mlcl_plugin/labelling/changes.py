# SPDX-License-Identifier: Apache-2.0
"""Changes of labels that are proposed, confirmed, and made in a copy."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.forms import ImageLabels, guess_form, write_files
from ..datasets.table import DELIMITERS, PARQUET, TextTable, open_table
from ..datasets.tabular_multi_label import find_label_column
from ..fit.read_data import Photographs
from ..plain_text import brief, list_some, neutral
from ..targets import PRESENT
from .hand_work import RECORD, record_written
from .suspicion import change
from .tables import check_names, write_parts

COLUMNS = ('image', 'label', 'given', 'proposed', 'suspicion', 'confirmed')
WORDS = ('absent', 'present')
WRITTEN = (
    'changes.csv',
    'corrected.csv',
    'corrected.tsv',
    'issues.csv',
    'select.csv',
    'to_label.csv',
    RECORD,
)
"""Names of the files that are written."""
YES = ('yes', 'y', '1', 'true', 'x')
NO = ('', 'no', 'n', '0', 'false')
SEPARATOR = ';'


class Change(NamedTuple):
    """A label that is to get the opposite value.

    ``given`` and ``proposed`` are ``'present'`` or ``'absent'``.
    """

    image: str
    label: str
    given: str
    proposed: str
    suspicion: float


def keep_source(source: str, out: Path) -> None:
    """Refuse a folder of results that would overwrite the labels.

    Raises:
        ValueError: If ``source`` is a file of this folder that is written.
    """
    path = Path(source)
    inside = path.is_file() and path.resolve().parent == out.resolve()
    if inside and path.name in WRITTEN:
        raise ValueError(
            f"The results would overwrite '{source}'. Choose another folder than "
            f"out='{out}', or rename the file."
        )


def write_changes(changes: Sequence[Change], path: Path) -> None:
    """Write changes to confirm: a row each, with an empty column ``confirmed``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    for item in changes:
        writer.writerow([*map(neutral, item[:4]), f'{item.suspicion:.4f}', ''])
    write_files([lambda: [(path, text.getvalue().encode())]], overwrite=True)
    record_written(path)


def read_confirmed(path: Path, labels: ImageLabels) -> np.ndarray:
    """Read the changes that a person has confirmed.

    Args:
        path (Path): A table as :func:`write_changes` writes it, with yes in the column
            ``confirmed`` of some rows. Rows may be left out.
        labels (ImageLabels): The labels to be changed.

    Returns:
        np.ndarray: ``(K, 2)`` rows and columns of the confirmed changes, ascending.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column or value is missing or unknown, or a label is not what
            the table says.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no table of changes confirmed='{path}'. A first call writes "
            'changes.csv.'
        )
    needed = ('image', 'label', 'given', 'confirmed')
    # As they are written, for spreadsheets.
    images = {neutral(name): row for row, name in enumerate(labels.images)}
    columns = {neutral(name): column for column, name in enumerate(labels.classes)}
    targets = labels.targets.toarray()
    places = []
    with open_table(str(path)) as table:
        missing = [name for name in needed if name not in table.columns]
        if missing:
            raise ValueError(
                f'{path} has no column {list_some(missing)}, expected '
                f'{list_some(list(COLUMNS))}.'
            )
        for number, cells in table.rows(list(needed)):
            image, label, given, answer = map(str, cells)
            word = answer.strip().lower()
            if word in NO:
                continue
            if word not in YES:
                raise ValueError(
                    f"{path}, row {number}: the column 'confirmed' has "
                    f'{brief(answer)}, expected yes or no, or nothing.'
                )
            if image not in images or label not in columns:
                raise ValueError(
                    f'{path}, row {number}: the data has no label {brief(label)} of '
                    f'an image {brief(image)}. Was the table made from other data?'
                )
            place = (images[image], columns[label])
            value = int(targets[place])
            now = WORDS[value] if value >= 0 else 'unknown'
            if now != given:
                raise ValueError(
                    f'{path}, row {number}: {brief(label)} of {brief(image)} is {now} '
                    f'in the data, but was {given} when the table was made. Run the '
                    'command again without confirmed.'
                )
            places.append(place)
    # A change that is confirmed twice is one.
    return np.unique(np.array(places, np.int64).reshape(-1, 2), axis=0)


def write_corrected(data: Photographs, places: np.ndarray, out: Path) -> Path:
    """Write a copy of the labels with changes.

    A table keeps its rows and its other columns, such as those of groups; Parquet
    becomes CSV. Other forms become a table with a column per label, and a column
    ``split`` if not all images are for training.

    Args:
        data (Photographs): The photographs.
        places (np.ndarray): ``(K, 2)`` rows and columns of the labels to change.
        out (Path): The folder.

    Returns:
        Path: The table, ``corrected.csv`` or ``corrected.tsv``.

    Raises:
        ValueError: If a label's name cannot be written.
    """
    changed = change(data.labels.targets.toarray(), places)
    path = out / corrected_name(data)
    if not _is_table(data):
        labels = ImageLabels(
            data.labels.classes, data.labels.images, type(data.labels.targets)(changed)
        )
        write_parts(labels, data.parts, path)
    else:
        _copy_table(data, places, changed, path)
    record_written(path)
    return path


def corrected_name(data: Photographs) -> str:
    """The file name of a copy of labels."""
    is_tsv = _is_table(data) and Path(data.source).suffix.lower() == '.tsv'
    return 'corrected.tsv' if is_tsv else 'corrected.csv'


def check_corrected(data: Photographs) -> None:
    """Check, before long work, that :func:`write_corrected` can write the labels.

    Raises:
        ValueError: If it cannot.
    """
    if not _is_table(data):
        check_names(data.labels.classes)


def _is_table(data: Photographs) -> bool:
    source = Path(data.source)
    may_be = source.is_file() and source.suffix.lower() in (*DELIMITERS, *PARQUET)
    return may_be and guess_form(source) == 'table'


def _copy_table(
    data: Photographs, places: np.ndarray, changed: np.ndarray, path: Path
) -> None:
    """Write the cells of a table as text, those of changed labels anew."""
    text = io.StringIO()
    delimiter = DELIMITERS[path.suffix]
    writer = csv.writer(text, delimiter=delimiter, lineterminator='\n')
    header, rows = _read_cells(data.source)
    own = data.labels.classes if set(data.labels.classes) <= set(header) else None
    names = find_label_column(header, classes=own)
    for row, column in np.unique(places, axis=0).tolist():
        label = data.labels.classes[column]
        present = int(changed[row, column]) == PRESENT
        cells = rows[row]
        if names is None:
            cells[header.index(label)] = str(int(present))
        else:
            place = header.index(names)
            cells[place] = _change_name(cells[place], label, present)
    writer.writerow(header)
    writer.writerows(rows)
    write_files([lambda: [(path, text.getvalue().encode())]], overwrite=True)


def _read_cells(source: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table. Columns of text may have no name."""
    with open_table(source) as table:
        header = list(table.columns)
        if isinstance(table, TextTable):
            return header, [list(cells) for _, cells in table.whole_rows()]
        rows = [cells for _, cells in table.rows(header)]
    return header, [[_as_text(cell, source) for cell in cells] for cells in rows]


def _as_text(cell: object, source: str) -> str:
    """A cell of Parquet as it is in CSV.

    Raises:
        ValueError: If a name in a list holds the separator.
    """
    if cell is None or cell != cell:
        return ''
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, list):
        bad = [name for name in cell if SEPARATOR in str(name)]
        if bad:
            raise ValueError(
                f'{source} has the name {brief(bad[0])}, which holds '
                f"'{SEPARATOR}', so the CSV copy of the labels cannot hold it. Rename "
                'it.'
            )
        return SEPARATOR.join(map(str, cell))
    return str(cell)


def _change_name(cell: str, label: str, present: bool) -> str:
    """A cell of names with a name more or less."""
    names = [name.strip() for name in cell.split(SEPARATOR) if name.strip()]
    if not present:
        names = [name for name in names if name != label]
    elif label not in names:
        names.append(label)
    return SEPARATOR.join(names)
