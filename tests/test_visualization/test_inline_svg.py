# SPDX-License-Identifier: Apache-2.0
import re
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure

from mlcl_plugin.visualization.inline_svg import inline_svg

HOSTILE = '<script>alert(1)</script> "&\' {{ 7 * 7 }} $x$ #0969da url(#a)'


def figure(text='a'):
    drawn = Figure(figsize=(3, 2))
    ax = drawn.subplots()
    ax.plot([0, 1], [0, 1], 'o-', color='#0969da')
    ax.imshow(np.eye(2))
    ax.set_title(text, parse_math=False)
    return drawn


def test_element():
    svg = inline_svg(figure(), 'one', HOSTILE)
    root = ElementTree.fromstring(svg)
    assert root.tag == 'svg' and root.get('role') == 'img'
    assert root.get('aria-label') == HOSTILE
    assert root.get('viewBox') == '0 0 216 144' and 'max-width:288px' in svg
    # the colours are those of the page
    assert 'currentColor' in svg and 'var(--blue, #0969da)' in svg
    assert '#000000' not in svg and 'font-family' not in svg


def test_names_are_text():
    root = ElementTree.fromstring(inline_svg(figure(HOSTILE), 'one', ''))
    tags = {element.tag for element in root.iter()}
    assert tags <= {'svg', 'g', 'path', 'use', 'text', 'defs', 'clipPath', 'rect'} | {
        'image'
    }
    texts = [element.text for element in root.iter('text')]
    assert HOSTILE in texts


def test_ids_are_those_of_one_picture():
    one, two = (inline_svg(figure(), name, '') for name in ('one', 'two'))
    ids = [set(re.findall(r' id="([^"]*)"', svg)) for svg in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
    for svg, own in zip((one, two), ids):
        used = set(re.findall(r'(?:href="|url\()#([^")]*)', svg))
        assert used and used <= own
        assert 'http' not in svg and 'data:image/png' in svg


def test_the_same_each_time():
    assert inline_svg(figure(), 'a', 'b') == inline_svg(figure(), 'a', 'b')
