# SPDX-License-Identifier: Apache-2.0
"""Text from files, fit for messages, consoles and reports.

Names of labels and files come from label files that anybody may have written. They may
be endless, or hold characters that a terminal takes as commands.
"""

import logging
from collections.abc import Collection

LONGEST = 200
"""Characters of a value that a message shows."""
MOST = 20
"""Names that a message lists."""
FORMULA = frozenset('=+-@')
"""What a formula begins with in spreadsheets."""


def printable(text: str, keep: str = '') -> str:
    r"""Write control characters and other invisible ones as escapes.

    Args:
        text (str): The text.
        keep (str): Characters to leave as they are, such as line breaks. Defaults to
            none.

    Examples:
        >>> print(printable('two\nlines, \x1b[31mred'))
        two\nlines, \x1b[31mred
    """
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


class PrintableLog(logging.Filter):
    """Writes control characters of log messages as escapes; for handlers of a logger.

    Line breaks and tabs stay.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the message of a record; none is left out."""
        record.msg, record.args = printable(record.getMessage(), keep='\n\t'), ()
        return True


def brief(value: object, longest: int = LONGEST) -> str:
    """Write the repr of a value, cut off where it gets long.

    Examples:
        >>> brief('x' * 1000, 8)
        "'xxxxxxx... (1,002 characters)"
    """
    text = repr(value)
    if len(text) <= longest:
        return text
    return f'{text[:longest]}... ({len(text):,} characters)'


def list_some(names: Collection[str], most: int = MOST) -> str:
    """Write names as a list, and how many more there are.

    Examples:
        >>> list_some(['cat', 'dog', 'owl'], 2)
        "['cat', 'dog', ...] (3 in all)"
    """
    shown = [brief(name) for _, name in zip(range(most), names)]
    if len(names) <= most:
        return f'[{", ".join(shown)}]'
    return f'[{", ".join(shown)}, ...] ({len(names):,} in all)'


def neutral(cell: object) -> object:
    """Write an apostrophe before text that a spreadsheet would take for a formula.

    Examples:
        >>> [neutral(cell) for cell in ('=1+1', '@cat', 'cat', -1.5, None)]
        ["'=1+1", "'@cat", 'cat', -1.5, None]
    """
    if isinstance(cell, str) and cell.lstrip()[:1] in FORMULA:
        return f"'{cell}"
    return cell
