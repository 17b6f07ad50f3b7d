# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('cgmvae_processes.py')
spec = importlib.util.spec_from_file_location('cgmvae_processes', SCRIPT)
processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(processes)


@pytest.fixture(scope='module')
def results(run_processes):
    """What a single process gets for the joined batch, and what each of two."""
    single = processes.all_results(processes.join, lambda model: model)
    return single, run_processes(SCRIPT, 2)


@pytest.mark.parametrize('name', processes.TARGETS)
def test_ddp_equals_one_process_on_the_joined_batch(results, name):
    """All losses and their gradients, however many images of each have a label."""
    single, many = results
    expected = single[name]
    for key, value in expected['losses'].items():
        mean = torch.stack([result[name]['losses'][key] for result in many]).mean()
        torch.testing.assert_close(mean, value, rtol=1e-10, atol=1e-12, msg=key)
        assert (value == 0) == (name == 'none' and key != 'loss_cls')
    for result in many:
        assert result[name]['grads'].keys() == expected['grads'].keys()
        for key, grad in expected['grads'].items():
            got = result[name]['grads'][key]
            torch.testing.assert_close(got, grad, rtol=1e-9, atol=1e-11, msg=key)
