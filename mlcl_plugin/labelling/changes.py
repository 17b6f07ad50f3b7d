# SPDX-License-Identifier: Apache-2.0
"""Changes of labels that are proposed, confirmed, and made in a copy."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.forms import ImageLabels, guess_form, write_files, write_labels
from ..datasets.table import DELIMITERS, open_table
from ..datasets.tabular_multi_label import find_label_column
from ..fit.read_data import Photographs
from ..plain_text import brief, list_some, neutral
from ..targets import PRESENT
from .suspicion import change

COLUMNS = ('image', 'label', 'given', 'proposed', 'suspicion', 'confirmed')
WORDS = ('absent', 'present')
WRITTEN = (
    'changes.csv',
    'corrected.csv',
    'corrected.tsv',
    'issues.csv',
    'select.csv',
    'to_label.csv',
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


def read_confirmed(path: Path, labels: ImageLabels) -> np.ndarray:
    """Read the changes that a person has confirmed.

    Args:
        path (Path): A table as :func:`write_changes` writes it, with yes in the column
            ``confirmed`` of some rows. Rows may be left out.
        labels (ImageLabels): The labels to be changed.

    Returns:
        np.ndarray: ``(K, 2)`` rows and columns of the confirmed changes.

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
    return np.array(places, np.int64).reshape(-1, 2)


def write_corrected(data: Photographs, places: np.ndarray, out: Path) -> Path:
    """Write a copy of the labels with changes.

    A CSV or TSV table keeps its rows and its other columns. Other forms become a table
    with a column per label.

    Args:
        data (Photographs): The photographs.
        places (np.ndarray): ``(K, 2)`` rows and columns of the labels to change.
        out (Path): The folder.

    Returns:
        Path: The table, ``corrected.csv`` or ``corrected.tsv``.
    """
    changed = change(data.labels.targets.toarray(), places)
    source = Path(data.source)
    is_text = (
        source.is_file()
        and source.suffix.lower() in DELIMITERS
        and guess_form(source) == 'table'
    )
    if not is_text:
        path = out / 'corrected.csv'
        labels = ImageLabels(
            data.labels.classes, data.labels.images, type(data.labels.targets)(changed)
        )
        write_labels(labels, path, overwrite=True)
        return path
    suffix = source.suffix.lower()
    path = out / f'corrected{suffix}'
    text = io.StringIO()
    writer = csv.writer(text, delimiter=DELIMITERS[suffix], lineterminator='\n')
    with open_table(str(source)) as table:
        header = list(table.columns)
        rows = [list(cells) for _, cells in table.rows(header)]
    names = find_label_column(header)
    for row, column in places.tolist():
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
    return path


def _change_name(cell: str, label: str, present: bool) -> str:
    """A cell of names with a name more or less."""
    names = [name.strip() for name in cell.split(SEPARATOR) if name.strip()]
    if present:
        return SEPARATOR.join([*names, label])
    return SEPARATOR.join(name for name in names if name != label)
