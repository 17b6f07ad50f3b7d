# SPDX-License-Identifier: Apache-2.0
"""Searches whose trials are not trained: scores are made from the values."""

import math

import pytest

from mlcl_plugin.tuning.report import best_table, importance_table
from mlcl_plugin.tuning.space import read_space
from mlcl_plugin.tuning.study import Search

SPACE = read_space({'lr': '1e-4:1:log', 'n': '1:8:int'}, {'kind': ['a', [1, 2], None]})


@pytest.fixture
def begin(tmp_path):
    """Function that opens a search in a folder."""
    pytest.importorskip('optuna')

    def begin(name='search', prune=False, seed=0, **options):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Search(folder, SPACE, {'config': 'x'}, seed, prune, **options)

    return begin


def score(values):
    """The best is at lr=0.01; n changes little."""
    return 90 - 20 * abs(math.log10(values['lr']) + 2) + 0.01 * values['n']


def fill(search, trials, sign=1):
    drawn = []
    for _ in range(trials):
        trial, values = search.next_trial()
        search.succeed(trial, sign * score(values))
        drawn.append(values)
    return drawn


def test_values_are_in_the_space(begin):
    drawn = fill(begin(), 12)
    assert all(1e-4 <= values['lr'] <= 1 for values in drawn)
    assert {type(values['n']) for values in drawn} == {int}
    assert {repr(values['kind']) for values in drawn} == {"'a'", '[1, 2]', 'None'}
    assert len({values['lr'] for values in drawn}) == 12
    search = begin()
    assert [search.values(trial) for trial in search.finished] == drawn


def test_interrupted_search_draws_the_same(begin):
    """In one go, or opened anew for each trial, also after the random ones."""
    whole = fill(begin('whole'), 14)
    parts = [fill(begin('parts'), 1)[0] for _ in range(14)]
    assert parts == whole
    assert fill(begin('other', seed=1), 1) != whole[:1]


def test_sampler_uses_the_history(begin):
    """Though each trial has a seed of its own: other scores lead to other values."""
    drawn = fill(begin('as it is'), 13)
    turned = fill(begin('turned'), 13, sign=-1)
    # The first ten are drawn at random.
    assert drawn[:10] == turned[:10]
    assert all(a != b for a, b in zip(drawn[10:], turned[10:]))


def test_unfinished_trial_comes_again(begin):
    """With its number and values; what it told before is told once."""
    fill(begin(), 2)
    search = begin()
    trial, values = search.next_trial()
    search.reporter(trial)(12.0, 1)
    again = begin()
    second, same = again.next_trial()
    assert (second.number, same) == (2, values)
    again.reporter(second)(99.0, 1)
    again.reporter(second)(20.0, 2)
    again.succeed(second, 20.0)
    (trial,) = [trial for trial in again.finished if trial.number == 2]
    assert trial.intermediate_values == {1: 12.0, 2: 20.0}
    assert len(again.finished) == 3 and again.next_trial()[0].number == 3


@pytest.mark.parametrize('prune', [True, False])
def test_poor_trials_are_stopped(begin, prune):
    import optuna

    search = begin(prune=prune)
    for value in (50.0, 60.0, 70.0, 80.0, 90.0):
        trial, _ = search.next_trial()
        search.reporter(trial)(value, 1)
        search.succeed(trial, value)
    trial, _ = search.next_trial()
    search.reporter(trial)(71.0, 1)
    search.succeed(trial, 71.0)
    trial, _ = search.next_trial()
    if prune:
        with pytest.raises(optuna.TrialPruned):
            search.reporter(trial)(60.0, 1)
        search.stop(trial)
        assert len(search.finished) == 7 and len(search.complete) == 6
    else:
        search.reporter(trial)(60.0, 1)


def test_first_values_and_tables(begin):
    first = {'lr': 0.01, 'n': 3, 'kind': '[1, 2]'}
    search = begin(first=first)
    assert fill(search, 1) == [{'lr': 0.01, 'n': 3, 'kind': [1, 2]}]
    # They are not drawn again.
    assert fill(begin(first=first), 1)[0]['lr'] != 0.01
    rows = best_table(search).splitlines()
    assert rows[0].split() == '| trial | mAP | lr | n | kind |'.split()
    assert rows[2].split() == '| 0 | 90.03 | 0.01 | 3 | [1, 2] |'.split()
    assert search.importance() == {}


def test_importance(begin):
    search = begin()
    fill(search, 30)
    found = search.importance()
    assert max(found, key=found.get) == 'lr' and sum(found.values()) == pytest.approx(1)
    assert importance_table(found).splitlines()[2].startswith('| lr ')
