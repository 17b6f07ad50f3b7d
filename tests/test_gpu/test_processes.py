# SPDX-License-Identifier: Apache-2.0
"""Several processes, one per GPU, by NCCL: contrast over all, and a training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.test_models.test_losses.processes import (
    SPLITS,
    STEPS,
    join,
    make,
    make_loss,
    run,
)

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.gpu


def call(words, environment):
    result = subprocess.run(
        [str(word) for word in words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


@pytest.mark.slow
def test_gather(device, num_processes, environment, tmp_path):
    """Each process gets loss, gradient and memory of the joined batch, in float64."""
    # Batches are made for up to four.
    world = min(num_processes, 4)
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    torchrun += [f'--nproc_per_node={world}', '-m', 'tests.test_gpu.gather_processes']
    call([*torchrun, tmp_path, device.type], dict(environment, PYTHONPATH=str(ROOT)))
    results = [torch.load(tmp_path / f'{rank}.pt') for rank in range(world)]

    near = dict(rtol=1e-10, atol=1e-12)
    for split in SPLITS:
        module = make_loss(0.2, with_memory=True)
        for step in range(STEPS):
            expected = run(module, *join(make(split, world, seed=step)))
            parts = [result[split, step] for result in results]
            for part in parts:
                torch.testing.assert_close(part['loss'], expected['loss'], **near)
            for number, gradient in enumerate(expected['grads']):
                # DDP would divide by the number of processes.
                joined = torch.cat([part['grads'][number] for part in parts]) / world
                torch.testing.assert_close(joined, gradient, **near)
        for result in results:
            for got, other in zip(result[split, 'memory'], module.memory.read()):
                assert torch.equal(got, other)
    rows = torch.cat([torch.full((rank + 1, 2), float(rank)) for rank in range(world)])
    for rank, result in enumerate(results):
        assert torch.equal(result['all'], rows)
        assert torch.equal(result['others'], rows[rows[:, 0] != rank])


@pytest.mark.slow
def test_training(device, num_processes, environment, write_config, tmp_path):
    """Both steps by tools/dist_train.sh, in float32 and then on in mixed precision."""
    hooks = [dict(type='EMAHook', momentum=0.1, update_buffers=True)]
    config = write_config(
        {'custom_hooks': hooks, 'train_dataloader.batch_size': 8 // num_processes or 1}
    )
    script = ['bash', ROOT / 'tools/dist_train.sh', config, num_processes]
    environment = dict(environment, PYTHON=sys.executable, PORT='29517')
    work_dir = tmp_path / 'work'
    for options in ([], ['--amp', '--resume', '--cfg-options']):
        if options:
            # As if it had been interrupted.
            (work_dir / 'step2/finished_checkpoint').unlink()
            options = [*options, 'steps.step2.train_cfg.max_epochs=4']
        call([*script, '--work-dir', work_dir, *options], environment)
    state = torch.load(
        work_dir / 'step2/epoch_4.pth', map_location='cpu', weights_only=False
    )['state_dict']
    assert all(value.isfinite().all() for value in state.values())
    logs = sorted((work_dir / 'step2').glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for path in logs for line in path.open()]
    losses = [line for line in lines if 'loss' in line]
    assert {line['epoch'] for line in losses} == {1, 2, 3, 4}
    # Memory of a GPU is logged where there is one.
    assert all(('memory' in line) == (device.type == 'cuda') for line in losses)
