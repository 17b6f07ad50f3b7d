# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('image_level_processes.py')
spec = importlib.util.spec_from_file_location('image_level_processes', SCRIPT)
processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(processes)


@pytest.fixture(
    scope='module', params=[2, pytest.param(4, marks=pytest.mark.slow)], ids=str
)
def results(request, run_processes):
    """What a single process gets for the joined batch, and what each of several."""
    world_size = request.param
    single = processes.all_results(world_size, processes.join)
    return single, run_processes(SCRIPT, world_size)


def assert_same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('mode', processes.MODES)
@pytest.mark.parametrize('rule', processes.RULES)
@pytest.mark.parametrize('split', processes.SPLITS)
def test_equal_to_one_process_on_the_joined_batch(results, split, rule, mode):
    single, many = results
    key = split, rule, mode
    expected = single[key]
    for result in many:
        assert_same(result[key]['losses'], expected['losses'])
    for step, grad in enumerate(expected['grads']):
        # DDP would divide by the number of processes.
        parts = [result[key]['grads'][step] / len(many) for result in many]
        assert_same(torch.cat(parts), grad)
    if split not in ('nothing', 'one_each'):
        assert any(loss > 0 for loss in expected['losses'])
    if mode != 'batch':
        for result in many:
            for got, value in zip(result[key]['remembered'], expected['remembered']):
                assert torch.equal(got, value)


def test_order_of_ranks(results):
    _, many = results
    for result in many:
        embeddings, targets = result['in_order']
        last = range(len(many) - 2, len(many))
        assert embeddings.flatten().tolist() == [rank for rank in last for _ in '12']
        assert targets.flatten().tolist() == [1, 0, 1, 0]
