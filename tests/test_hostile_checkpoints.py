# SPDX-License-Identifier: Apache-2.0
"""Every file of the table at one entry; the whole table: hostile_checkpoints.py."""

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests import hostile_checkpoints as table
from tests.child_process import CONTEXT

NAMES = [*table.FILES, *table.HARMLESS]
ENTRIES = list(table.ENTRIES)
# The others are tried by test_safe_checkpoint.py and test_loaded_checkpoint_hook.py.
FAST = {
    'os.system in meta',
    'os.system in the optimizer',
    'os.system, plain pickle',
    'getattr chain',
    'torch.load of another file',
    'a name by the stack',
    'zip bomb',
    'declared values',
    'doubling by encode',
    'copies of a list',
    'many operations',
    'last bytes missing',
    'tar',
    'weights as a list',
    'nan weights',
    'integer weights',
    'numpy weights',
    'sparse weights',
    'weights whose methods are replaced',
    'a pipe',
    'a link to itself',
    'config as code',
    'deep nesting',
}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return table.make_place(tmp_path_factory.mktemp('place') / 'data')


@pytest.fixture(scope='module')
def attempt():
    """The function of this name, in a process that has the memory of no other test."""
    with ProcessPoolExecutor(1, CONTEXT) as pool:
        yield lambda *args, **kwargs: pool.submit(
            table.attempt, *args, **kwargs
        ).result()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork and /proc')
@pytest.mark.parametrize(
    ('name', 'entry'),
    [
        pytest.param(
            name,
            ENTRIES[number % len(ENTRIES)],
            marks=[] if name in FAST else pytest.mark.slow,
        )
        for number, name in enumerate(NAMES)
    ],
)
def test_file(name, entry, place, attempt):
    outcome = attempt(*place, name, entry, seconds=120)
    assert outcome.problem is None, outcome.line


def test_table_is_large():
    assert len(table.FILES) >= 40
    assert set(NAMES) >= FAST


def test_table_goes_on_where_it_was_ended(tmp_path, capsys):
    out = tmp_path / 'results.jsonl'
    good = table.Outcome(None, 'tool: file.pth is no checkpoint', 1.25, 500.0)
    bad = table.Outcome('ran code', 'done', 2.0, 501.0)
    assert table.kept(out) == {}
    table.keep(out, 'tar', 'infer', good)
    table.keep(out, 'tar', 'api', bad)
    outcomes = table.kept(out)
    assert outcomes == {('tar', 'infer'): good, ('tar', 'api'): bad}
    assert table.print_table(['tar'], ['infer', 'api'], outcomes) == 1
    text = capsys.readouterr().out
    assert '| tar | refused | ran code | 2.0 s | 501 MB |' in text
    assert 'tar, api: ran code: done' in text
