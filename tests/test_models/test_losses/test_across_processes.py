# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('processes.py')
spec = importlib.util.spec_from_file_location('processes', SCRIPT)
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


@pytest.mark.parametrize('split', processes.SPLITS)
def test_equal_to_one_process_on_the_joined_batch(results, split):
    single, many = results
    world_size = len(many)
    compared = 0
    for key, expected in single.items():
        if key[0] != split or 'memory' in key:
            continue
        for result in many:
            assert_same(result[key]['loss'], expected['loss'])
        for number, grad in enumerate(expected['grads']):
            # DDP would divide by the number of processes.
            parts = [result[key]['grads'][number] / world_size for result in many]
            assert_same(torch.cat(parts), grad)
        compared += 1
    assert compared == 2 * (1 + processes.STEPS)
    assert split in ('nothing', 'one_each') or any(
        value['loss'] > 0
        for key, value in single.items()
        if key[:1] == (split,) and 'memory' not in key
    )


@pytest.mark.parametrize('split', processes.SPLITS)
def test_all_processes_remember_the_joined_batch(results, split):
    single, many = results
    for temperature in (0.2, 0.001):
        key = split, temperature, 'memory'
        for result in many:
            for got, expected in zip(result[key], single[key]):
                assert torch.equal(got, expected)


def test_order_of_ranks(results):
    _, many = results
    for result in many:
        embeddings, labels = result['in_order']
        # The last four: of two processes all.
        last = range(len(many) - 2, len(many))
        assert embeddings.flatten().tolist() == [r + h for r in last for h in (0, 0.5)]
        assert labels.tolist() == [0, 1, 0, 1]
