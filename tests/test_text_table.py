# SPDX-License-Identifier: Apache-2.0
import math

from mlcl_plugin.text_table import table_of_rows, text_table


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
