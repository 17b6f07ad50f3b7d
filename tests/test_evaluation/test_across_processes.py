# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import pytest

from mlcl_plugin.evaluation import MultiLabelRecognitionMetric

SCRIPT = Path(__file__).with_name('processes.py')
spec = importlib.util.spec_from_file_location('processes', SCRIPT)
processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(processes)

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', params=[2, 3], ids=str)
def many(request, run_processes):
    """What each of several processes gets."""
    return run_processes(SCRIPT, request.param)


@pytest.mark.parametrize('option', processes.OPTIONS)
@pytest.mark.parametrize('entries', processes.BLOCKS)
@pytest.mark.parametrize('name', [*processes.SAMPLERS, *processes.SPLITS])
def test_equal_to_one_process(many, name, entries, option):
    indices = [0] if name == 'one_sample' else range(processes.SIZE)
    expected, _ = processes.evaluate(
        processes.make_samples(indices),
        len(indices),
        **processes.OPTIONS[option],
    )
    for results in many:
        values, is_reset = results[name, entries, option]
        # To the last bit, and in the same order.
        assert list(values.items()) == list(expected.items())
        assert is_reset


def test_fewer_classes_than_processes(many):
    samples = processes.make_samples(range(processes.SIZE), num_classes=1)
    expected, _ = processes.evaluate(samples)
    assert all(results['one_class'][0] == expected for results in many)


@pytest.mark.parametrize(
    ('name', 'match'),
    [
        ('not_padding', 'dataset of 17. Padding can be told only if each holds'),
        ('more_than_padding', 'dataset of 17. Padding can be told only if each holds'),
        ('no_sample', 'got no sample to evaluate'),
        ('size_0', 'got no sample to evaluate'),
        ('widths', r'pred_score has [4, 5] entries on different processes'),
    ],
)
def test_all_processes_fail(many, name, match):
    """Or the others would wait for the one that does."""
    assert all(match in results[name] for results in many)


def test_whole_arrays_are_not_shared(many):
    expected = MultiLabelRecognitionMetric.calculate(*processes.make_data())
    assert many[0]['calculate'] == expected
