# SPDX-License-Identifier: Apache-2.0
"""What a training has logged: losses and validations, row by row."""

import json
import math
from pathlib import Path

from ..local_files import check_regular

MAX_BYTES = 2**28
"""A log that is larger is not read."""


def read_scalars(folder: Path, part: str = '') -> list[dict]:
    """Read the rows of a run that MMEngine has logged, also over several resumes.

    A run that is resumed repeats what came after its last checkpoint. The later rows
    count. Lines that are no JSON objects are left out: a run that is killed may leave
    half a line.

    Args:
        folder (Path): The folder of a run or of a step, with
            ``TIME/vis_data/scalars.json`` of each start.
        part (str): The name of the step. Defaults to ''.

    Returns:
        list[dict]: In the order of the training. Rows of losses have ``iter``, those of
        a validation have not. Each has ``part``.

    Raises:
        ValueError: If a file is larger than :data:`MAX_BYTES`, or no file.
    """
    rows: list[dict] = []
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        check_regular(file)
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(
                f'{file} has {file.stat().st_size:,} bytes, more than {MAX_BYTES:,}.'
            )
        new = [
            dict(row, part=part)
            for line in file.read_text(encoding='utf-8', errors='replace').splitlines()
            if (row := _row(line)) is not None
        ]
        for is_loss in (True, False):
            again = [_place(row) for row in new if ('iter' in row) == is_loss]
            if again:
                rows = [
                    row
                    for row in rows
                    if ('iter' in row) != is_loss or _place(row) < again[0]
                ]
        rows += new
    return rows


def _row(line: str) -> dict | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    place = _place(row)
    return row if isinstance(place, int | float) and math.isfinite(place) else None


def _place(row: dict):
    """The iteration of a row, or the epoch of a validation."""
    return row.get('iter', row.get('step', 0))
