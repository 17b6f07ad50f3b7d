# SPDX-License-Identifier: Apache-2.0
import math

from mlcl_plugin.text_table import text_table


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
