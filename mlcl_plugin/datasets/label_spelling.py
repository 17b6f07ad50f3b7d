# SPDX-License-Identifier: Apache-2.0
"""Names of labels that differ in nothing but how they are written."""

import logging
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from mmengine.logging import print_log

from ..plain_text import list_some


def spelling_key(name: str) -> str:
    """What a name is without capital letters, blanks and forms of Unicode.

    Underscores and hyphens count as blanks, several blanks as one.

    Examples:
        >>> spelling_key(' Traffic_light') == spelling_key('traffic  light')
        True
    """
    text = unicodedata.normalize('NFKC', name)
    # Invisible characters, such as a byte order mark.
    text = ''.join(c for c in text if unicodedata.category(c) != 'Cf')
    # Case folding may give letters in another form.
    text = unicodedata.normalize('NFKC', text.casefold())
    return re.sub(r'[\s_-]+', ' ', text).strip() or name


def near_same(names: Iterable[str]) -> list[list[str]]:
    """Find names that differ only in capital letters, blanks or forms of Unicode.

    Examples:
        >>> near_same(['cat', 'dog', 'Cat'])
        [['cat', 'Cat']]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(spelling_key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def show_group(names: Sequence[str]) -> str:
    r"""Write near-same names so that they can be told apart.

    Examples:
        >>> show_group(['cat', 'Cat '])
        "'cat' = 'Cat '"
        >>> show_group(['\u00e9', 'e\u0301'])
        "'\\xe9' = 'e\\u0301'"
    """
    composed = {unicodedata.normalize('NFC', name) for name in names}
    return ' = '.join(map(repr if len(composed) == len(names) else ascii, names))


def warn_left_out(path: str, left_out: Collection[str], classes: Sequence[str]) -> None:
    """Log a warning if a name that was left out is nearly that of a class.

    Args:
        path (str): The annotation, for the message.
        left_out (Collection[str]): The names.
        classes (Sequence[str]): The names of the classes.
    """
    if not left_out:
        return
    known = {spelling_key(name): name for name in classes}
    pairs = {
        name: known[spelling_key(name)]
        for name in sorted(left_out)
        if spelling_key(name) in known
    }
    if pairs:
        print_log(
            f'{path}: left out are the names {list_some(pairs)}, which are not in '
            f'classes, but differ from {list_some(list(pairs.values()))} only in '
            'capital letters, blanks or the form of Unicode.',
            logger='current',
            level=logging.WARNING,
        )
