# SPDX-License-Identifier: Apache-2.0
"""A headless browser for tests, and axe-core in it.

Tests with it need playwright and a Chromium, those with axe-core also its file
``axe.min.js``: CONTRIBUTING.md says where from.
"""

import os
import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
AXE = Path(
    os.environ.get('AXE_CORE')
    or Path(__file__).parents[1] / 'node_modules/axe-core/axe.min.js'
)
MISSING = [
    *([] if find_spec('playwright') else ['playwright']),
    *([] if CHROMIUM else ['a Chromium']),
]


def needs(*names: str, axe: bool = False) -> pytest.MarkDecorator:
    """Mark of a test in the browser, which is skipped where something is missing.

    Args:
        names (str): Modules that it also needs.
        axe (bool): Whether it needs axe-core.
    """
    missing = [*(name for name in names if not find_spec(name)), *MISSING]
    if axe and not AXE.is_file():
        missing.append(f'axe-core ({AXE} is not there; see tests/browser.py)')
    return pytest.mark.skipif(bool(missing), reason=f'missing: {", ".join(missing)}')


@contextmanager
def launched():
    """A headless Chromium that finds no other machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                '--no-sandbox',
                '--disable-gpu',
                '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
            ],
        )
        yield chromium
        chromium.close()


# Colours that still change have no contrast to measure. Endless motion is left out.
SETTLED = """async () => {
  for (const _ of [1, 2, 3]) await new Promise(requestAnimationFrame);
  const ends = document.getAnimations().filter(
    (a) => a.effect.getComputedTiming().iterations !== Infinity);
  await Promise.all(ends.map((a) => a.finished.catch(() => null)));
}"""


def looks(page):
    """Show a page wide and narrow, light and dark; gives a name for each."""
    for scheme in ('light', 'dark'):
        for width in (1440, 390):
            page.emulate_media(color_scheme=scheme, reduced_motion='reduce')
            page.set_viewport_size(dict(width=width, height=900))
            page.evaluate(SETTLED)
            yield f'{width} px, {scheme}'


def axe_faults(page, least=('serious', 'critical')):
    """What axe-core finds in a page, as lines."""
    page.evaluate(AXE.read_text('utf-8'))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    # A page that axe cannot read has passed nothing.
    assert found['passes'], 'axe-core has run no rule'
    return [
        f'{fault["impact"]}: {fault["id"]}: {node["html"][:200]}'
        for fault in found['violations']
        if fault['impact'] in least
        for node in fault['nodes']
    ]
