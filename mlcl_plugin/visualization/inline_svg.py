# SPDX-License-Identifier: Apache-2.0
"""Pictures as SVG that stands in a page and takes its colours and letters from it."""

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

COLOURS = {
    '#000000': 'currentColor',
    '#24292f': 'currentColor',
    '#0969da': 'var(--blue, #0969da)',
    '#bc6c00': 'var(--orange, #bc6c00)',
    '#1a7f37': 'var(--green, #1a7f37)',
    '#cf222e': 'var(--red, #cf222e)',
    '#57606a': 'var(--grey, #57606a)',
}
"""Colours of our pictures, and what a page may set for a dark ground."""
LINK = '{http://www.w3.org/1999/xlink}href'
SKIPPED = ('metadata', 'style')


def inline_svg(figure: Figure, name: str, text: str) -> str:
    """Write a picture as an ``<svg>`` element.

    Text stays text: the page shows it in its own letters. There is no ground, so that
    that of the page is seen. Names in the picture are escaped.

    Args:
        figure (Figure): The picture. Its names hold no control characters.
        name (str): A word that no other picture of the page has; ids begin with it.
        text (str): What the picture shows, for those who cannot see it.

    Returns:
        str: The element, with ``role="img"``. It refers to nothing outside of it.
    """
    buffer = io.StringIO()
    # Ids of clip paths and markers depend on it.
    rules: Any = {'svg.fonttype': 'none', 'svg.hashsalt': name}
    with matplotlib.rc_context(rules), warnings.catch_warnings():
        # The letters of the page are not these.
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    root = ElementTree.fromstring(buffer.getvalue())
    _clean(root, name)
    width, height = (float(size) for size in root.attrib['viewBox'].split()[2:])
    root.attrib = dict(
        viewBox=root.attrib['viewBox'],
        role='img',
        style=f'max-width:{4 / 3 * width:.0f}px;aspect-ratio:{width:g}/{height:g}',
    )
    root.set('aria-label', text)
    return ElementTree.tostring(root, encoding='unicode')


def _clean(element: ElementTree.Element, name: str) -> None:
    """Remove what a page does not need, and make ids those of this picture."""
    # Namespaces are those of the page.
    element.tag = element.tag.rpartition('}')[2]
    attributes = {}
    for key, value in element.attrib.items():
        if key == LINK:
            # Images are data, all else is a part of the picture.
            key = 'href'
            value = f'#{name}-{value[1:]}' if value.startswith('#') else value
        elif key == 'id':
            if not re.fullmatch('[a-z][0-9a-f]{10}', value):
                # Names of groups, such as axes_1, that nothing refers to.
                continue
            value = f'{name}-{value}'
        elif key == 'clip-path':
            value = value.replace('#', f'#{name}-')
        elif key == 'style':
            value = _style(value)
        else:
            value = _rounded(value)
        attributes[key] = value
    element.attrib = attributes
    if element.text is not None and not element.text.strip():
        element.text = None
    element.tail = None
    for child in list(element):
        if child.tag.rpartition('}')[2] in SKIPPED:
            element.remove(child)
        else:
            _clean(child, name)


def _style(text: str) -> str:
    kept = []
    for rule in text.split(';'):
        key, _, value = (part.strip() for part in rule.partition(':'))
        if key == 'font-family':
            continue
        if key == 'font':
            # The page has its own family; the size stands before it.
            size = re.search(r'[\d.]+px', value)
            key, value = 'font-size', size[0] if size else 'inherit'
        value = COLOURS.get(value, value)
        kept.append(f'{key}:{_rounded(value)}')
    return ';'.join(kept)


def _rounded(text: str) -> str:
    """Shorten coordinates, which have more digits than a screen shows."""
    text = re.sub(r'(\d+\.\d{2})\d+', r'\1', text)
    return ' '.join(text.split())
