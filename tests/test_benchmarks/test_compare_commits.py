# SPDX-License-Identifier: Apache-2.0
import argparse
import io
import json
import sys

import pytest
import torch


@pytest.fixture
def cases(load):
    return load('commit_cases')


@pytest.fixture
def compare(load):
    return load('compare_commits')


class Fixed:
    """A rival that takes given seconds for a call, and computes a given value."""

    def __init__(self, seconds, value):
        self.seconds, self.value, self.asked = iter(seconds), value, []

    def ask(self, case, calls):
        self.asked.append(calls)
        if calls == 0:
            return dict(value=[self.value], digest=str(self.value))
        return dict(seconds=next(self.seconds))


def test_all_tiny_cases_run(cases):
    """Each gives the same bits in every call, and takes time."""
    for name, make in cases.QUICK.items():
        case = make()
        assert cases.summary(case)['digest'] == cases.summary(make())['digest'], name
        assert cases.fastest(case, 2) > 0


def test_cases_that_are_compared_have_tiny_forms(cases):
    kinds = {name.split(',')[0] for name in cases.CASES}
    tiny = {name.split(',')[0] for name in cases.QUICK}
    assert tiny <= kinds


def test_ratios_are_taken_turn_by_turn(compare):
    """The first time of each is that of the call that counts calls per turn."""
    rivals = {
        'old': Fixed([1, 10, 20, 40], 4.0),
        'new': Fixed([1, 5, 10, 10], 5.0),
        'new again': Fixed([1, 5, 20, 10], 5.0),
    }
    result = compare.compare(rivals, 'a case', turns=3)
    assert result['calls'] == 1 and rivals['old'].asked == [0, 1, 1, 1, 1]
    found = {name: rival['ratio']['median'] for name, rival in result['rivals'].items()}
    assert found == {'old': 1, 'new': 0.5, 'new again': 1}
    assert result['rivals']['new']['seconds'] == [5, 10, 10]
    assert result['values'] == '0.2'
    text = compare.table([result])
    assert 'a case' in text and '0.500 (0.375 to 0.500)' in text


def test_short_calls_are_repeated(compare):
    rivals = {name: Fixed([1e-3] * 3, 1.0) for name in ('old', 'new', 'new again')}
    result = compare.compare(rivals, 'a case', turns=2)
    assert result['calls'] == round(compare.TURN / 1e-3) and result['values'] == (
        'equal bits'
    )


@pytest.mark.parametrize(
    ('old', 'new', 'text'),
    [
        (dict(value=[2.0], digest='a'), dict(value=[2.0], digest='a'), 'equal bits'),
        (dict(value=[2.0], digest='a'), dict(value=[1.5], digest='b'), '0.2'),
        (dict(value=[0.0], digest='a'), dict(value=[0.0], digest='b'), '0'),
        (dict(value=[1.0], digest='a'), dict(value=[], digest='b'), '1 and 0 numbers'),
    ],
)
def test_values(compare, old, new, text):
    assert compare.compare_values(old, new) == text


def test_process_answers_lines(cases, monkeypatch, capsys):
    """What it prints otherwise goes to the other stream."""
    lines = [
        json.dumps(dict(case='LabelsToTargets, tiny', calls=calls)) for calls in (0, 1)
    ]
    monkeypatch.setattr(sys, 'stdin', io.StringIO('\n'.join(lines)))
    monkeypatch.setattr(sys, 'stdout', sys.stdout)
    monkeypatch.setattr(torch, 'set_num_threads', lambda number: None)
    cases.main()
    package, value, seconds = map(json.loads, capsys.readouterr().out.splitlines())
    assert package['package'].endswith('__init__.py')
    assert len(value['value']) == 5 and seconds['seconds'] > 0


def test_unknown_commit(compare):
    tree = compare.worktree('no-such-commit')
    with pytest.raises(SystemExit, match='compare_commits: no-such-commit: '):
        tree.__enter__()


def test_file_of_results(compare, tmp_path, capsys):
    ratio = dict(median=1, low=1, high=1)
    rivals = {
        name: dict(seconds=[1.0], ratio=ratio) for name in ('old', 'new', 'new again')
    }
    comparison = dict(title='a case', values='equal bits', calls=1, rivals=rivals)
    args = argparse.Namespace(quick=True, commit='abc', turns=1, out=tmp_path)
    environment = compare.describe_environment()
    compare.write_result(args, environment, [comparison])
    result = json.loads((tmp_path / 'commits.json').read_text())
    assert result['old'] == 'abc' and result['cases'] == [comparison]
    assert 'equal bits' in capsys.readouterr().out
