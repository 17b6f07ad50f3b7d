# SPDX-License-Identifier: Apache-2.0
import io
import logging

import pytest

from mlcl_plugin.plain_text import PrintableLog, brief, list_some, printable


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('cat dog', 'cat dog'),
        ('café 猫 🐈', 'café 猫 🐈'),
        ('\x1b]0;title\x07', '\\x1b]0;title\\x07'),
        ('a\rb\x00\x9b31m', 'a\\rb\\x00\\x9b31m'),
        # it would write what follows from right to left
        ('gpj\u202e.exe', 'gpj\\u202e.exe'),
        ('\ufeffcat', '\\ufeffcat'),
        # half of a character, as names of files that are not UTF-8 have
        ('\udcff', '\\udcff'),
        ("it's", "it's"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected


def test_printable_keeps():
    assert printable('a\nb\tc\x1b', keep='\n\t') == 'a\nb\tc\\x1b'


def test_log():
    """What handlers write has no control characters; messages without any stay."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(PrintableLog())
    logger = logging.Logger('names')
    logger.addHandler(handler)
    logger.info('%s of\n%d 100 %%', 'a\x1b[31m', 2)
    logger.info('100 %')
    assert stream.getvalue() == 'a\\x1b[31m of\n2 100 %\n100 %\n'


def test_brief_and_list():
    assert brief('cat') == "'cat'"
    assert len(brief('x' * 10**6)) < 230
    assert list_some(['cat', 'dog']) == "['cat', 'dog']"
    assert list_some([]) == '[]'
    assert len(list_some(['x' * 1000] * 10_000)) < 5000
    assert list_some(dict.fromkeys('abc'), 1) == "['a', ...] (3 in all)"
