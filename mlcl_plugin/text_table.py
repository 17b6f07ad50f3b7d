# SPDX-License-Identifier: Apache-2.0
"""Tables that are read as text and drawn as Markdown."""

import math
import re
from collections.abc import Mapping, Sequence

from .plain_text import printable

# What Markdown reads as more than text, HTML included; _ only at the ends of a word.
MARKUP = re.compile(r'[\\`*\[\]<>&~]|(?<![^\W_])_|_(?![^\W_])')


def literal(name: str) -> str:
    r"""Write the name of a label or file so that Markdown shows it as it is.

    Examples:
        >>> print(literal('traffic_light'), literal('<b>*'), literal('a\\b'))
        traffic_light \<b\>\* a\\b
    """
    return MARKUP.sub(r'\\\g<0>', printable(name))


def text_table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Write a table in Markdown whose columns stand below each other.

    Args:
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence]): Cells; numbers stand right, nan and None are ``-``.
            Floats should come as strings with the digits that are wanted.

    Returns:
        str: Without a line break at its end.
    """
    texts = [[_cell(cell) for cell in row] for row in [header, *rows]]
    right = [
        all(_is_number(row[column]) for row in texts[1:])
        for column in range(len(header))
    ]
    widths = [max(3, *map(len, column)) for column in zip(*texts)]
    lines = [
        '| '
        + ' | '.join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, right)
        )
        + ' |'
        for row in texts
    ]
    rule = ' | '.join(
        '-' * (width - number) + ':' * number for width, number in zip(widths, right)
    )
    return '\n'.join([lines[0], f'| {rule} |', *lines[1:]])


def _cell(value: object) -> str:
    if value is None or isinstance(value, float) and math.isnan(value):
        return '-'
    # What would end the cell or the line, and what a terminal would obey.
    return printable(' '.join(str(value).split('\n'))).replace('|', '\\|')


def _is_number(text: str) -> bool:
    return text == '-' or text.lstrip('+-')[:1].isdigit() or text.startswith('< ')


def table_of_rows(rows: Sequence[Mapping[str, object]]) -> str:
    """Write a table of rows that need not have all columns.

    Args:
        rows (Sequence[Mapping[str, object]]): The cells by the name of their column,
            in the order of the columns. A missing cell is written as ``-``.

    Returns:
        str: As of :func:`text_table`.

    Examples:
        >>> print(table_of_rows([{'': 'a', 'x': '1 ms'}, {'': 'b', 'y': '2 MB'}]))
        |     |    x |    y |
        | --- | ---: | ---: |
        | a   | 1 ms |    - |
        | b   |    - | 2 MB |
    """
    header = list(dict.fromkeys(key for row in rows for key in row))
    return text_table(header, [[row.get(key) for key in header] for row in rows])
