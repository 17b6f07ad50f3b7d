# SPDX-License-Identifier: Apache-2.0
"""What the documents refer to is there: files, headings and scripts."""

import re
from pathlib import Path

import pytest

from mlcl_plugin.command_table import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('docs', 'configs', 'benchmarks', 'studies', '.github')
PATTERNS = ('*.md', *(f'{folder}/**/*.md' for folder in FOLDERS))
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in PATTERNS
    for path in ROOT.glob(pattern)
)
# The change log names files that have gone.
PAGES_OF_TODAY = [page for page in PAGES if page != 'CHANGELOG.md']
# Files that a reader of the docs makes, and placeholders.
MADE_BY_READERS = re.compile(r'(test_)?x\.py|photos\.py|my_\w+\.py|[A-Z_]+\.\w+')

FENCE = re.compile(r'^(`{3,}|~{3,}).*?^\1[ \t]*$', re.M | re.S)
INLINE_CODE = re.compile(r'(`+)(?!`).*?(?<!`)\1(?!`)', re.S)
LINK = re.compile(r'\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)')
IMAGE = re.compile(r'<img[^>]*\ssrc="([^"]+)"')
HEADING = re.compile(r'^#{1,6} +(.+?) *#* *$', re.M)
SCRIPT = re.compile(
    r'(?<![\w./-])((?:tools|studies|benchmarks|tests|configs|\.ci)/[\w/.-]+\.(?:py|sh))\b'
)


COMMAND = re.compile(r'(?:^|`|\$ )mlcl ([a-z][\w-]*)', re.M)


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    found = []
    for heading in HEADING.findall(FENCE.sub('', text)):
        words = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', heading)
        slug = re.sub(r'[^\w\- ]', '', words.lower()).replace(' ', '-')
        earlier = found.count(slug)
        found += [slug, f'{slug}-{earlier}'] if earlier else [slug]
    return set(found)


def links(text):
    prose = INLINE_CODE.sub('', FENCE.sub('', text))
    found = [*LINK.findall(prose), *IMAGE.findall(prose)]
    return [link for link in found if not re.match(r'[a-z]+:', link)]


def broken_links(page, root=ROOT):
    text = (root / page).read_text(encoding='utf-8')
    broken = []
    for link in links(text):
        path, _, anchor = link.partition('#')
        target = (root / page).parent / path if path else root / page
        if not target.exists():
            broken.append(f'{link}: no such file')
        elif anchor and anchor not in anchors(target.read_text(encoding='utf-8')):
            broken.append(f'{link}: no such heading')
    return broken


@pytest.mark.parametrize('page', PAGES)
def test_links(page):
    assert broken_links(page) == []


@pytest.mark.parametrize('page', PAGES_OF_TODAY)
def test_scripts(page):
    named = set(SCRIPT.findall((ROOT / page).read_text(encoding='utf-8')))
    gone = [name for name in sorted(named) if not (ROOT / name).exists()]
    assert [n for n in gone if not MADE_BY_READERS.fullmatch(Path(n).name)] == []


@pytest.mark.parametrize('page', PAGES_OF_TODAY)
def test_commands(page):
    named = set(COMMAND.findall((ROOT / page).read_text(encoding='utf-8')))
    assert named <= set(COMMANDS)


def test_page_of_commands():
    text = (ROOT / 'docs/commands.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| `mlcl ([\w-]+)` \| (.*?) \| (?:`(.*?)`)? ?\|', text, re.M)
    expected = [(n, c.summary, c.tool or '') for n, c in COMMANDS.items()]
    assert rows == expected
    words = re.search('-W "(.*)" mlcl', text)[1].split()
    assert words == list(COMMANDS)


def test_what_the_checks_see(tmp_path):
    (tmp_path / 'other.md').write_text(
        '# A `b.py`, and C\n```\n# no heading\n```\n## Twice\n## Twice\n'
    )
    (tmp_path / 'page.md').write_text(
        '[a](other.md#a-bpy-and-c) [b](other.md#twice-1) ![c](gone.png "title")\n'
        '[d](other.md#no-heading) [e](https://example.org/x) `[f](code.md)`\n'
        '```\n[g](fenced.md)\n```\n<img alt="h" src="h.svg"> [i\nj](#top)\n# Top\n'
    )
    assert broken_links('page.md', tmp_path) == [
        'gone.png: no such file',
        'other.md#no-heading: no such heading',
        'h.svg: no such file',
    ]
    command = 'python tools/x.py a/tools/y.py; tools/z.sh, `.ci/run.py`'
    assert SCRIPT.findall(command) == ['tools/x.py', 'tools/z.sh', '.ci/run.py']
