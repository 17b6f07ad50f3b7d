# SPDX-License-Identifier: Apache-2.0
"""Tables of labels with the part, train, val or test, of each image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.forms import ImageLabels, write_files
from ..datasets.tabular_multi_label import LABEL_COLUMN
from ..fit.read_data import SPLIT_COLUMN
from ..targets import UNKNOWN

IMAGE_COLUMN = 'image'


def check_names(classes: Sequence[str]) -> None:
    """Check that a table can have a column of each label.

    Raises:
        ValueError: If a label is called like a column that is read as something else.
    """
    for name in classes:
        if name in (IMAGE_COLUMN, LABEL_COLUMN, SPLIT_COLUMN):
            raise ValueError(
                f"The label '{name}' would have a column that is read as something "
                "else than a label: 'image' is that of paths, 'labels' of names, "
                "'split' of parts. Rename the label, or leave it out of classes."
            )


def write_parts(labels: ImageLabels, parts: np.ndarray, path: Path) -> None:
    """Write a CSV table with a column per label, empty where it is unknown.

    Args:
        labels (ImageLabels): The labels.
        parts (np.ndarray): ``(N,)`` train, val or test. They get a column if not all
            are train.
        path (Path): The table, which is replaced.

    Raises:
        ValueError: See :func:`check_names`.
    """
    check_names(labels.classes)
    divided = bool((parts != 'train').any())
    text = io.StringIO()
    # In quotes, names such as NA or 1e5 are read as text.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator='\n')
    writer.writerow([IMAGE_COLUMN, *[SPLIT_COLUMN] * divided, *labels.classes])
    targets = labels.targets.toarray()
    cells = targets.astype(object)
    cells[targets == UNKNOWN] = ''
    for image, part, row in zip(labels.images, parts.tolist(), cells.tolist()):
        writer.writerow([image, *[part] * divided, *row])
    write_files([lambda: [(path, text.getvalue().encode())]], overwrite=True)
