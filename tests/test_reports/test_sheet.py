# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np

from mlcl_plugin.reports.sheet import Card, Line, Sheet, write_sheet


def test_a_sheet_is_escaped_and_loads_nothing(tmp_path):
    path = tmp_path / '<x>.png'
    cv2.imwrite(str(path), np.full((8, 12, 3), 128, np.uint8))
    cards = [
        Card(
            path, '<script>alert(1)</script>', [Line('a & b'), Line('\x1b[31m', True)]
        ),
        Card(tmp_path / 'none.png', 'missing', []),
    ]
    out = tmp_path / 'deep' / 'sheet.html'
    write_sheet(Sheet('Title <i>', ['note'], cards), out)
    text = out.read_text()
    assert '<script' not in text and '&lt;script&gt;' in text
    assert 'a &amp; b' in text and '\x1b' not in text and 'Title &lt;i&gt;' in text
    assert text.count('<img src="data:image/jpeg') == 1
    assert 'no image file' in text
    assert "default-src 'none'" in text and 'http' not in text.replace('http-equiv', '')


def test_an_empty_sheet(tmp_path):
    write_sheet(Sheet('Title', [], []), tmp_path / 'sheet.html')
    assert 'nothing to show' in (tmp_path / 'sheet.html').read_text()
