# SPDX-License-Identifier: Apache-2.0
import math

import pytest


def result_of(values):
    """A file of results with given mAP by method and seed."""
    return dict(
        name='tiny',
        title='A title',
        description='What is compared.',
        reference='a',
        methods={name: dict(label=name, start=None) for name in values},
        runs={
            f'{name}/{seed}': dict(
                metrics={f'multi-label/{key}': value for key in ('mAP', 'CF1', 'OF1')},
                mAP={'step1/8': value},
                images=1000,
                seconds=60,
                date='2026-01-01T00:00',
                commit='c',
                processor='cpu',
                cores=2,
                torch='2',
                jobs=1,
                threads=2,
            )
            for name, seeds in values.items()
            for seed, value in seeds.items()
        },
    )


def test_paired_differences(load):
    """Seed by seed, over the seeds that both have."""
    report = load('method_report')
    result = result_of(dict(a={0: 50.0, 1: 60.0, 2: 70.0}, b={1: 61.0, 2: 73.0, 3: 9}))
    assert report.differences(result, 'b', 'multi-label/mAP') == [1.0, 3.0]
    table = report.method_table(result)
    row = next(line for line in table.splitlines() if line.startswith('| b'))
    # t of one degree of freedom at 97.5 %: 12.706; half width 12.706 * 1.414 / 1.414
    assert '+2.00 (-10.71 to +14.71)' in row
    assert '1,000' in row and '1.0' in row


def test_neighbours(load):
    """The mean of each blend, and what it adds to the classifier of the same run."""
    report = load('method_report')
    result = result_of(dict(a={0: 50.0, 1: 60.0}, b={0: 61.0}))
    assert 'With neighbours' not in report.format_methods(result)
    for seed, (own, label) in enumerate([(50.0, 51.0), (60.0, 63.0)]):
        result['runs'][f'a/{seed}']['neighbours'] = {'classifier': own, 'both': label}
    table = report.neighbour_table(result).splitlines()
    assert len(table) == 3
    # gains of 1 and 3; t of one degree of freedom at 97.5 %: 12.706
    assert '57.00 ± 8.49; +2.00 (-10.71 to +14.71)' in table[2]
    assert '55.00 ± 7.07' in table[2]
    assert report.neighbour_table(result) in report.format_methods(result)


def test_own_reference(load):
    report = load('method_report')
    result = result_of(dict(a={0: 50.0}, b={0: 61.0}, c={0: 63.0}))
    assert 'reference |' not in report.method_table(result).splitlines()[0].replace(
        'mAP to reference |', ''
    )
    result['methods']['c']['reference'] = 'b'
    lines = report.method_table(result).splitlines()
    assert '| reference |' in lines[0]
    row = next(line for line in lines if line.startswith('| c'))
    assert '| b ' in row and '+2.00' in row
    row = next(line for line in lines if line.startswith('| b'))
    assert '| a ' in row[3:] and '+11.00' in row


def test_interval(load):
    interval = load('method_report').interval
    centre, low, high = interval([1.0, 2.0, 3.0])
    assert centre == 2
    # t of two degrees of freedom at 97.5 %: 4.3027
    assert low == pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4)
    assert high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)
    assert interval([4.0]) == (4.0, -math.inf, math.inf)


def test_costs_count_the_start(load):
    report = load('method_report')
    result = result_of(dict(a={0: 1.0}, b={0: 2.0}))
    result['methods']['b']['start'] = 'a'
    assert report.cost(result, 'b', 'images') == 2000


def test_first_steps(load):
    """Of those that train both, and of those that start from another's."""
    report = load('method_report')
    result = result_of(dict(a={0: 50.0, 1: 60.0}, b={1: 61.0}, c={0: 70.0, 1: 71.0}))
    assert 'after step 1' not in report.method_table(result)
    result['methods']['b']['start'] = 'a'
    for name, by_epoch in (
        ('c/0', {'step1/4': 1.0, 'step1/8': 2.0, 'step2/4': 70.0}),
        ('c/1', {'step1/8': 3.0, 'step2/4': 71.0}),
    ):
        result['runs'][name]['mAP'] = by_epoch
    assert report.first_steps(result, 'a') == []
    assert report.first_steps(result, 'b') == [60.0]
    assert report.first_steps(result, 'c') == [2.0, 3.0]
    table = report.method_table(result).splitlines()
    assert '| mAP after step 1 |' in table[0]
    assert '2.50 ± 0.71' in next(line for line in table if line.startswith('| c'))
