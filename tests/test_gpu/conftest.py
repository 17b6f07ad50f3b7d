# SPDX-License-Identifier: Apache-2.0
"""Does a GPU compute what a CPU computes? ``make test-gpu`` runs these tests.

Without a GPU they are skipped. There,

    python -m pytest tests/test_gpu -m gpu --device cpu

runs the same tests on the CPU, with gloo in place of NCCL. The CPU is then compared
with itself. That shows that the tests run; it says nothing about a GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mlcl_plugin.commands import main

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser):
    parser.addoption(
        '--device',
        choices=['cuda', 'cpu'],
        default='cuda',
        help='where the tests marked gpu run (cpu: only to show that they run)',
    )


@pytest.fixture(scope='session')
def device(request):
    """The device that is compared with the CPU. Without it, tests are skipped."""
    name = request.config.getoption('--device', 'cuda')
    if name == 'cuda' and not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    return torch.device(name)


@pytest.fixture(scope='session')
def num_processes(device):
    """The number of processes of a run: one per GPU, two on CPUs."""
    return torch.cuda.device_count() if device.type == 'cuda' else 2


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """No TensorFloat-32, whose products of float32 have 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope='session')
def environment(device):
    """The environment of programs that are started: they see the device only."""
    own = dict(os.environ, OMP_NUM_THREADS='1')
    if device.type == 'cpu':
        own['CUDA_VISIBLE_DEVICES'] = '-1'
    return own


@pytest.fixture(scope='session')
def digit_scenes(device, tmp_path_factory):
    """Folder of a few scenes of digits."""
    folder = tmp_path_factory.mktemp('scenes') / 'digits'
    numbers = ['--num-train', '256', '--num-val', '64']
    assert main(['digits', str(folder), *numbers]) == 0
    return folder


@pytest.fixture(scope='session')
def trained_digits(digit_scenes, environment, tmp_path_factory):
    """Function that trains the recipe for digits, both steps, once per precision."""
    done = {}

    def train(precision):
        if precision in done:
            return done[precision]
        work_dir = tmp_path_factory.mktemp(precision)
        roots = [
            f'{part}_dataloader.dataset.data_root={digit_scenes}/'
            for part in ('train', 'val', 'test')
        ]
        result = subprocess.run(
            [
                *(sys.executable, '-m', 'mlcl_plugin', 'train', 'mlcl_resnet_digits'),
                *('--work-dir', str(work_dir)),
                *(['--amp'] if precision == 'amp' else []),
                *('--cfg-options', *roots, 'default_hooks.logger.interval=2'),
                *('steps.step1.train_cfg.max_epochs=4', 'train_cfg.val_interval=2'),
                'steps.step2.train_cfg.max_epochs=2',
            ],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
        done[precision] = work_dir
        return work_dir

    return train
