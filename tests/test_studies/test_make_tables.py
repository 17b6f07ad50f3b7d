# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = 'docs/methods_tables.md'


@pytest.fixture
def tree(tmp_path):
    """The docs and an empty folder of results, as they lie in a checkout."""
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs')
    (tmp_path / 'studies/results').mkdir(parents=True)
    return tmp_path


@pytest.fixture
def make(load, tree):
    """Function that writes the page and gives its text."""

    def make():
        folders = ['--results', str(tree / 'studies/results')]
        load('make_tables').main([*folders, '--docs', str(tree / 'docs')])
        return (tree / PAGE).read_text()

    return make


def test_tables_are_up_to_date(make, tree):
    """The page is what the results in the checkout make of it; others stay."""
    for path in (ROOT / 'studies/results').glob('*.json'):
        shutil.copy(path, tree / 'studies/results')
    before = {page: page.read_text() for page in (tree / 'docs').glob('*.md')}
    assert make() == (ROOT / PAGE).read_text()
    assert {page: page.read_text() for page in before} == before


def test_suites_are_up_to_date(load):
    """What a suite says of itself is what its file of results says."""
    load_suite = load('suite').load_suite
    for path in (ROOT / 'studies/results').glob('*.json'):
        result = json.loads(path.read_text())
        suite = load_suite(ROOT / f'studies/suites/{path.stem}.py')
        assert result['title'] == suite.title
        assert result['description'] == suite.description


def test_pictures_are_where_the_page_says(make, tree):
    shutil.copy(ROOT / 'studies/results/yeast.json', tree / 'studies/results')
    (line,) = [line for line in make().splitlines() if line.startswith('![')]
    assert (tree / 'docs' / line.partition('](')[2].rstrip(')')).is_file()


def test_no_results(make):
    text = make()
    assert text.startswith('<!-- Written by `python studies/make_tables.py`. Do not')
    assert 'No results yet' in text and '](methods.md)' in text
