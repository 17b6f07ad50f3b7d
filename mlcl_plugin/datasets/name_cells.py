# SPDX-License-Identifier: Apache-2.0
"""Cells of tables that list names of labels, and lists written in another way."""

import re
from collections.abc import Collection

# What often separates names. A name that holds one of these is questioned.
SEPARATORS = ';,|#\t'
# Also common inside names: questioned only if all parts are names of their own.
RARE_SEPARATORS = '/&+: '
LIST = re.compile(r'\s*(\[.*\]|\{.*\}|\(.*[\'"].*\))\s*', re.DOTALL)
QUOTED = re.compile(r'(["\']).*\1', re.DOTALL)
NOTHING = ('None', 'nan', 'NaN', 'null', 'NULL', '<NA>')
"""What Python, pandas and databases write for an empty cell."""


def split_names(cell: object, separator: str) -> list[str] | None:
    """Split a cell (text, a list of strings, or nothing); None for anything else."""
    if cell is None or cell != cell:
        return []
    if isinstance(cell, str):
        cell = cell.split(separator)
    if not isinstance(cell, list) or not all(isinstance(name, str) for name in cell):
        return None
    return [name.strip() for name in cell if name.strip()]


def question_list(cell: object) -> str | None:
    """Say why a cell of text may be a list of Python or JSON; None if it is not.

    Examples:
        >>> question_list("['cat', 'dog']")
        'looks like a list of Python or JSON: write cat;dog, or lists in Parquet'
    """
    if not isinstance(cell, str) or not LIST.fullmatch(cell):
        return None
    return 'looks like a list of Python or JSON: write cat;dog, or lists in Parquet'


def question_name(name: str, separator: str, names: Collection[str]) -> str | None:
    """Say why a name may not be one name; None if nothing speaks against it.

    Args:
        name (str): The name that was found.
        separator (str): What separates names.
        names (Collection[str]): All names that are known or were found.

    Returns:
        str, optional: The end of a sentence about the name.

    Examples:
        >>> question_name('cat,dog', ';', ['cat'])
        "may be several names: if ',' separates them, set separator=','"
        >>> question_name('traffic light', ';', ['cat', 'traffic light']) is None
        True
    """
    for mark in SEPARATORS + RARE_SEPARATORS:
        parts = [part.strip() for part in name.split(mark)]
        if mark in separator or len(parts) < 2 or not all(parts):
            continue
        if mark in SEPARATORS or all(part in names for part in parts):
            return (
                f'may be several names: if {mark!r} separates them, set '
                f'separator={mark!r}'
            )
    if name in NOTHING:
        return 'is what other tools write for nothing: leave the cell empty'
    if QUOTED.fullmatch(name):
        return 'has quotes around it: write the names without them'
    return None


def holds_known(name: str, separator: str, names: Collection[str]) -> bool:
    """Whether a name is several names, one of them known, by another separator."""
    return any(
        part.strip() in names
        for mark in SEPARATORS
        if mark not in separator and mark in name
        for part in name.split(mark)
    )
