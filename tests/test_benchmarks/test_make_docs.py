# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ('benchmarks_tables', 'scaling_tables', 'cost_estimate_tables')

RESULT = dict(
    name='thing',
    title='Some thing',
    description='What is done to it.',
    quick=False,
    environment=dict(
        processor='Some Processor 7',
        bfloat16=['avx512_bf16'],
        cores=2,
        threads=3,
        load_before=0.25,
        versions=dict(python='3.11.7', torch='2.14.1'),
        commit='abc1234',
        date='2026-11-25T00:00+00:00',
        command='python benchmarks/bench_thing.py',
    ),
    comparisons=[
        dict(
            title='N = 10',
            base='ours',
            items=8,
            unit='images',
            rivals=dict(
                ours=dict(
                    seconds=[0.004, 0.002, 0.003],
                    ratio=dict(median=1, low=1, high=1),
                    deviation=dict(value=0),
                    memory=dict(before=1, peak=900_000_000, extra=50_000_000),
                ),
                other=dict(
                    seconds=[1.5, 2.5, 1.25],
                    ratio=dict(median=5.25, low=4.5, high=6.75),
                    deviation=dict(value=2.5e-7),
                    memory=dict(before=1, peak=2_345_000_000, extra=125_000_000),
                ),
            ),
        )
    ],
    curves=[
        dict(
            title='Growth of it',
            fixed='D = 3',
            x='N',
            x_label='size N',
            points=dict(
                ours=[
                    dict(x=10, seconds=0.0625, memory=None),
                    dict(x=2000, seconds=32.5, memory=None),
                ]
            ),
            exponents=dict(ours=dict(seconds=1.234)),
        )
    ],
    tables=[dict(title='Further things', rows=[{'': 'part', 'one': '7 ms'}])],
)


@pytest.fixture
def tool(load):
    return load('make_docs')


@pytest.fixture
def tree(tmp_path):
    """The pages of the docs, and a folder for results, as they lie in a checkout."""
    pages = shutil.ignore_patterns('*.png')
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs', ignore=pages)
    (tmp_path / 'benchmarks/results').mkdir(parents=True)
    return tmp_path


def run(tool, tree, *results):
    for result in results:
        path = tree / f'benchmarks/results/{result["name"]}.json'
        path.write_text(json.dumps(result))
    tool.main(
        ['--results', str(tree / 'benchmarks/results'), '--docs', str(tree / 'docs')]
    )
    return [(tree / f'docs/{page}.md').read_text() for page in PAGES]


def row_of(page, *words):
    """The cells of the only row of a table that has all of these words."""
    (row,) = [
        line
        for line in page.splitlines()
        if line.startswith('|') and all(f' {word} ' in line for word in words)
    ]
    return [cell.strip() for cell in row.strip('|').split('|')]


def test_tables(tool, tree):
    """Every value is one of the file of results."""
    benchmarks, scaling, estimate = run(tool, tree, RESULT)
    assert row_of(benchmarks, 'ours') == [
        'N = 10',
        'ours',
        '3 ms',
        '1 (base)',
        '2.67e+03',
        '50 MB',
        '900 MB',
        '1',
        '-',
    ]
    assert row_of(benchmarks, 'other') == [
        '',
        'other',
        '1.5 s',
        '5.25 (4.5 to 6.75)',
        '5.33',
        '125 MB',
        '2.35 GB',
        '2.5',
        '2e-07',
    ]
    assert 'Further things' in benchmarks and 'Further things' not in scaling
    assert row_of(benchmarks, 'part') == ['part', '7 ms']
    assert row_of(scaling, 'ours', '10') == ['ours', '10', '62.5 ms']
    assert row_of(scaling, 'ours', '2,000') == ['ours', '2,000', '32.5 s']
    assert 'ours: time ~ N^1.23' in scaling
    for page in (benchmarks, scaling):
        for words in (
            '## Some thing',
            'What is done to it.',
            'Some Processor 7, 2 cores, 3 threads, avx512_bf16',
            '2026-11-25T00:00+00:00',
            'commit abc1234',
            '`python benchmarks/bench_thing.py`',
            'python 3.11.7, torch 2.14.1',
        ):
            assert words in page
        assert 'not a result' not in page
    assert 'No results yet' in estimate


def test_only_generated_pages_are_written(tool, tree):
    """They say by which command, and link to a hand-written page, which stays."""
    before = {page: page.read_text() for page in (tree / 'docs').glob('*.md')}
    first = run(tool, tree, RESULT)
    written = {page.stem for page in before if page.read_text() != before[page]}
    assert written == set(PAGES)
    for page, text in zip(PAGES, first):
        assert text.startswith(
            '<!-- Written by `python benchmarks/make_docs.py`. Do not edit. -->\n# '
        )
        name = 'cost_estimate.md' if page.startswith('cost') else 'benchmarks.md'
        assert f']({name})' in text and f']({page}.md)' in before[tree / 'docs' / name]
    pictures = {p: p.read_bytes() for p in tree.rglob('*.png')}
    assert {p.name for p in pictures} == {'thing.png', 'thing_curves.png'}
    # the same once more
    assert run(tool, tree) == first
    assert {p: p.read_bytes() for p in tree.rglob('*.png')} == pictures
    # and other results replace the old ones
    renamed = RESULT | dict(title='Another title', quick=True, curves=[])
    benchmarks, scaling, *_ = run(tool, tree, renamed)
    assert 'Some thing' not in benchmarks and '## Another title' in benchmarks
    assert 'tiny sizes: not a result' in benchmarks
    assert 'Growth of it' not in scaling and 'No results yet' in scaling


def test_pictures_are_where_the_pages_say(tool, tree):
    for page in run(tool, tree, RESULT)[:2]:
        (path,) = [line for line in page.splitlines() if line.startswith('![')]
        assert (tree / 'docs' / path.partition('](')[2].rstrip(')')).is_file()


def test_page_that_is_not_there_yet(tool, tree):
    (tree / 'docs/scaling_tables.md').unlink()
    assert '## Some thing' in run(tool, tree, RESULT)[1]


def test_docs_are_up_to_date(tool, tree):
    """The pages are what the results in the checkout make of them."""
    results = [
        json.loads(path.read_text())
        for path in (ROOT / 'benchmarks/results').glob('*.json')
    ]
    expected = [(ROOT / f'docs/{page}.md').read_text() for page in PAGES]
    assert run(tool, tree, *results) == expected
    assert not any(result['quick'] for result in results)


def test_cost_estimate(load):
    """Values that can be counted by hand."""
    tool = load('cost_estimate')
    work = tool.parse_args(
        ['--labels', '80', '--processes', '4', '--batch', '16', '--loader', '100']
    )
    rows = {row['']: row['value'] for row in tool.estimate(work)}
    # Blocks before: 2 x 4 x 2048^2; label attention: 2 x 2048 x 1024 + 2 x 1024^2;
    # block after: 4 x 1024^2; projector: 1024 x 1152; 80 queries and classifiers.
    expected = 33_554_432 + 6_291_456 + 4_194_304 + 1_179_648 + 2 * 80 * 1024
    assert tool.neck_parameters(work) == expected
    assert rows['parameters'] == f'{(42.5e6 + expected) / 1e6:.0f} M'
    # 16 images x 2 views x 8 labels of each of 4 processes
    assert tool.embeddings(work) == (256, 1024)
    assert rows['embeddings sent by a process'] == tool.format_bytes(
        3 * (256 * 4 * 129 + 2048)
    )
    # Two thirds of the step hide the exchange, or all of it.
    assert float(rows['cores that load images'].split()[0]) > 0
    grouped = tool.parse_args(['--groups', '10', '--loader', '100'])
    alone = tool.parse_args(['--loader', '100'])
    assert tool.neck_macs(grouped) < tool.neck_macs(alone) / 10
    assert grouped.groups == 10 and alone.labels == 9600


def test_cost_estimate_without_measurement(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'bench_pipeline.py, or give --loader'):
        load('cost_estimate').measured_loader(tmp_path)
