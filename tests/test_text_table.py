# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from mlcl_plugin.text_table import literal, table_of_rows, text_table


def test_table():
    rows = [['cat', 5, '91.20', None], ['a|b\nc', 120, '-3.00', math.nan]]
    assert text_table(['label', 'images', 'AP', 'x'], rows) == (
        '| label  | images |    AP |   x |\n'
        '| ------ | -----: | ----: | --: |\n'
        '| cat    |      5 | 91.20 |   - |\n'
        '| a\\|b c |    120 | -3.00 |   - |'
    )


def test_no_row():
    assert text_table(['a'], []).splitlines()[0].startswith('|')


def test_rows_that_lack_columns():
    rows = [{'': 'a', 'x': '1 ms'}, {'': '', 'y': '2 MB', 'x': None}]
    assert table_of_rows(rows) == text_table(
        ['', 'x', 'y'], [['a', '1 ms', None], ['', None, '2 MB']]
    )
    assert table_of_rows([{'b': 1}, {'a': 2, 'b': 3}]).startswith('|   b |   a |')


def test_control_characters():
    table = text_table(['\x1b[31m'], [['a\rb\x9b'], ['c\u202e']])
    assert table.replace('\n', '').isprintable()
    assert r'a\rb\x9b' in table


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('traffic_light 2-wheeler C#', 'traffic_light 2-wheeler C#'),
        ('<script>&lt;', r'\<script\>\&lt;'),
        ('[a](javascript:b)', r'\[a\](javascript:b)'),
        ('*a* ~~b~~ `c`', r'\*a\* \~\~b\~\~ \`c\`'),
        ('_a_b_', r'\_a_b\_'),
        ('a\\b', r'a\\b'),
        ('\x1b', r'\\x1b'),
    ],
)
def test_literal(name, expected):
    assert literal(name) == expected
