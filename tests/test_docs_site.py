# SPDX-License-Identifier: Apache-2.0
"""The documentation site holds every page, and needs nothing from elsewhere."""

import subprocess
import sys
from fnmatch import fnmatch
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.browser import axe_faults, launched, looks, needs

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / 'docs/site'
PAGES = sorted(
    path.relative_to(ROOT).with_suffix('').as_posix()
    for pattern in (
        *('*.md', 'docs/**/*.md', 'docs/**/*.ipynb', 'docs/**/*.rst'),
        *('configs/README.md', 'mlcl_plugin/weights/README.md'),
    )
    for path in ROOT.glob(pattern)
    if '.ipynb_checkpoints' not in path.parts
)


def listed(node):
    """The pages and patterns in a part of the navigation."""
    for entry in node.get('entries', []):
        yield entry.get('file') or entry.get('glob')
        yield from listed(entry)
    for part in node.get('subtrees', []):
        yield from listed(part)


def test_navigation():
    toc = yaml.safe_load((SITE / 'toc.yml').read_text())
    patterns = [toc['root'], *listed(toc)]
    assert len(patterns) == len(set(patterns))
    missing = [p for p in PAGES if not any(fnmatch(p, x) for x in patterns)]
    assert missing == []
    gone = [x for x in patterns if not any(fnmatch(p, x) for p in PAGES)]
    assert gone == []


class Page(HTMLParser):
    """What a page has, links to and loads."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[name] for name in ('id', 'name') if attrs.get(name)}
        if tag == 'a' and attrs.get('href'):
            self.links.add(attrs['href'])
        elif tag == 'link' and attrs.get('rel') not in ('canonical', 'next', 'prev'):
            self.loaded.add(attrs.get('href', ''))
        self.loaded |= {attrs[name] for name in ('src', 'data') if attrs.get(name)}


def is_foreign(link):
    parts = urlsplit(link)
    return bool(parts.netloc or parts.scheme) and parts.scheme != 'data'


def faults(folder):
    """What of the pages below a folder is loaded from elsewhere, or not there."""
    pages = {path: Page(path.read_text('utf-8')) for path in folder.rglob('*.html')}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        found += [f'{name}: loads {x}' for x in page.loaded if is_foreign(x)]
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = target if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                found.append(f'{name}: {link} is not there')
            elif anchor and target in pages and anchor not in pages[target].ids:
                found.append(f'{name}: {link} has no such place')
    for path in folder.rglob('*.css'):
        text = path.read_text('utf-8')
        if '@import' in text or 'url(http' in text or 'url(//' in text:
            found.append(f'{path.relative_to(folder).as_posix()}: loads a file')
    return sorted(found)


def test_what_the_check_sees(tmp_path):
    (tmp_path / 'a.css').write_text('a { background: url(https://example.org/a) }')
    (tmp_path / 'a.html').write_text(
        '<p id="here"><a href="#here"></a><a href="#gone"></a><a href="b.html"></a>'
        '<a href="https://example.org"></a><img src="data:image/png;base64,AA==">'
        '<link rel="stylesheet" href="a.css"><script src="//example.org/a.js"></script>'
    )
    assert faults(tmp_path) == [
        'a.css: loads a file',
        'a.html: #gone has no such place',
        'a.html: b.html is not there',
        'a.html: loads //example.org/a.js',
    ]


def build(folder, *options):
    """Build the site as `make docs` does."""
    command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-c', SITE]
    done = subprocess.run(
        [*command, *options, ROOT, folder], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(not find_spec('myst_nb'), reason='needs the extra docs')
def test_built_site(tmp_path):
    build(tmp_path)
    assert faults(tmp_path) == []
    assert {f'{page}.html' for page in PAGES} <= {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.html')
    }


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site, whose notebook has not run."""
    folder = tmp_path_factory.mktemp('site')
    build(folder, '-D', 'nb_execution_mode=off')
    return folder


@pytest.mark.slow
@needs('myst_nb', axe=True)
def test_accessible(site):
    """axe-core finds no serious fault, wide and narrow, light and dark."""
    found = {}
    with launched() as browser:
        page = browser.new_page()
        for path in sorted(site.rglob('*.html')):
            page.goto(path.as_uri())
            for look in looks(page):
                found[f'{path.relative_to(site)}, {look}'] = axe_faults(page)
    assert len(found) >= 4 * len(PAGES)
    assert not any(found.values()), {key: x for key, x in found.items() if x}
