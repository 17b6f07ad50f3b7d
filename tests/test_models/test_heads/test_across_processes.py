# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('processes.py')
spec = importlib.util.spec_from_file_location('head_processes', SCRIPT)
processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(processes)


@pytest.fixture(
    scope='module', params=[2, pytest.param(4, marks=pytest.mark.slow)], ids=str
)
def results(request, run_processes):
    """What a single process gets for the joined batch, and what each of several."""
    world_size = request.param
    single = processes.all_results(world_size, processes.join, lambda model: model)
    return single, run_processes(SCRIPT, world_size)


@pytest.mark.parametrize('head', processes.HEADS)
@pytest.mark.parametrize('targets', processes.TARGETS)
@pytest.mark.parametrize('batch', processes.BATCHES)
def test_ddp_equals_one_process_on_the_joined_batch(results, batch, targets, head):
    """Contrastive loss, and the gradients of both losses in all parameters."""
    single, many = results
    expected = single[batch, targets, head]
    contrast = expected['contrast']
    assert (contrast == 0) == (targets == 'none')
    mean = torch.stack([r[batch, targets, head]['cls'] for r in many]).mean()
    torch.testing.assert_close(mean, expected['cls'], rtol=1e-10, atol=1e-12)
    for result in many:
        got = result[batch, targets, head]
        torch.testing.assert_close(got['contrast'], contrast, rtol=1e-10, atol=1e-12)
        assert got['grads'].keys() == expected['grads'].keys()
        for name, grad in expected['grads'].items():
            torch.testing.assert_close(
                got['grads'][name], grad, rtol=1e-9, atol=1e-11, msg=name
            )
