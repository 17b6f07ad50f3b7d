# SPDX-License-Identifier: Apache-2.0
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from torch import distributed

from mlcl_plugin.engine import set_default_dataloader_cfg, setup_cpu_distributed

ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.fixture
def one_process(monkeypatch, no_gpu):
    """What torchrun sets in the environment, for a single process."""
    values = dict(
        RANK='0',
        LOCAL_RANK='0',
        WORLD_SIZE='1',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=free_port(),
        # else set by MMEngine, for good
        OMP_NUM_THREADS='1',
        MKL_NUM_THREADS='1',
    )
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.parametrize('cfg', [{}, dict(launcher='none')])
def test_no_launcher(no_gpu, cfg):
    cfg = Config(cfg)
    setup_cpu_distributed(cfg)
    assert 'model_wrapper_cfg' not in cfg
    assert not distributed.is_initialized()


def test_with_gpu(monkeypatch):
    """MMEngine's own way is left to it."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(launcher='pytorch'))
    setup_cpu_distributed(cfg)
    assert 'model_wrapper_cfg' not in cfg
    assert not distributed.is_initialized()


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_other_launcher(no_gpu, launcher):
    with pytest.raises(
        ValueError, match=f"launcher='{launcher}' needs a GPU.*torchrun"
    ):
        setup_cpu_distributed(Config(dict(launcher=launcher)))


def test_group_and_wrapper(one_process):
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
    setup_cpu_distributed(cfg)
    assert distributed.get_backend() == 'gloo'
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    # a group that is there, and a wrapper of the config's own, stay
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=dict(type='Own')))
    setup_cpu_distributed(cfg)
    assert cfg.model_wrapper_cfg == dict(type='Own')


def test_trains_in_a_group(one_process, load_config, record):
    """Both steps with DDP, in this process."""
    cfg = load_config({'train_cfg.max_epochs': 1})
    cfg.launcher = 'pytorch'
    setup_cpu_distributed(cfg)
    model = RUNNERS.build(cfg).train()
    assert record.epochs() == [('step1', 0), ('step2', 0)]
    # without its wrapper
    assert type(model).__name__ == 'ImageClassifier'


def test_two_processes(write_config, run_processes, tmp_path):
    """Train, resume and test: one run, not two."""
    # of 7 images, one is evaluated twice and must count once
    changes = {
        'custom_hooks': [dict(type='EMAHook', momentum=0.1)],
        'train_dataloader.batch_size': 2,
        'train_cfg.max_epochs': 1,
    }
    config, work_dir = write_config(changes), tmp_path / 'work'
    script = Path(__file__).parent / 'processes.py'
    first, second = run_processes(script, 2, config, work_dir)

    checkpoint = work_dir / 'step2/epoch_2.pth'
    assert (work_dir / 'step2/finished_checkpoint').read_text() == str(checkpoint)
    assert not (work_dir / 'step1/epoch_2.pth').exists()
    # 2 of 7 images, repeated to 8, in each of 2 processes: two iterations an epoch
    assert torch.load(checkpoint, weights_only=False)['meta']['iter'] == 4
    for key, value in first['parameters'].items():
        torch.testing.assert_close(value, second['parameters'][key], rtol=0, atol=0)

    cfg = Config.fromfile(config)
    set_default_dataloader_cfg(cfg)
    cfg.work_dir, cfg.load_from = str(tmp_path / 'alone'), str(checkpoint)
    expected = RUNNERS.build(cfg).test()
    for rank in (first, second):
        assert rank['metrics'] == pytest.approx(expected, abs=1e-4)


def environment(**values):
    """What a script sees: no GPU, this Python, and a port of its own."""
    return dict(
        os.environ,
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='-1',
        PORT=free_port(),
        PYTHON=sys.executable,
    ) | {key: str(value) for key, value in values.items()}


def run(script, *args, **values):
    """Run one of the shell scripts in two processes."""
    env = environment(**values)
    return subprocess.run(
        ['bash', str(ROOT / 'tools' / script), *map(str, args)],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_scripts(write_config, tmp_path):
    """Two processes train both steps; evaluation gives what one process gives."""
    hooks = [dict(type='EMAHook', momentum=0.1, update_buffers=True)]
    # of 7 images, one is evaluated twice and must count once
    config = write_config({'custom_hooks': hooks, 'train_dataloader.batch_size': 2})
    work_dir = tmp_path / 'work'
    result = run('dist_train.sh', config, 2, '--work-dir', work_dir)
    assert result.returncode == 0, result.stderr[-3000:]

    checkpoint = work_dir / 'step2/epoch_2.pth'
    log = next((work_dir / 'step2').glob('*/vis_data/scalars.json')).read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    # 8 images: 2 in each of 2 processes are two iterations an epoch
    assert max(line['iter'] for line in lines if 'loss' in line) == 4
    assert (work_dir / 'step2/finished_checkpoint').read_text() == str(checkpoint)
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    assert 'head.projector.fc1.weight' in state
    # the names are those of the model itself, not of its wrapper
    assert not any(key.startswith('module.') for key in state)
    assert all(value.isfinite().all() for value in state.values())

    metrics = {}
    for number in (1, 2):
        out = tmp_path / f'metrics_{number}.json'
        result = run(
            *('dist_test.sh', config, checkpoint, number, '--work-dir', work_dir),
            *('--out', out, '--out-item', 'metrics'),
        )
        assert result.returncode == 0, result.stderr[-3000:]
        metrics[number] = json.loads(out.read_text())
    assert metrics[2].keys() == metrics[1].keys()
    for key, value in metrics[1].items():
        assert metrics[2][key] == pytest.approx(value, abs=1e-4), key
    last = [line for line in lines if 'multi-label/mAP' in line][-1]
    assert metrics[1]['multi-label/mAP'] == pytest.approx(
        last['multi-label/mAP'], abs=1e-3
    )


@pytest.mark.slow
def test_scripts_resume(write_config, tmp_path):
    """Processes that are started anew agree on where to go on."""
    hooks = [dict(type='EMAHook', momentum=0.1)]
    config = write_config({'custom_hooks': hooks, 'train_cfg.max_epochs': 1})
    work_dir = tmp_path / 'work'
    args = ('dist_train.sh', config, 2, '--work-dir', work_dir)
    result = run(*args)
    assert result.returncode == 0, result.stderr[-3000:]
    (work_dir / 'step2/finished_checkpoint').unlink()
    options = ('--cfg-options', 'train_cfg.max_epochs=2')
    result = run(*args, '--resume', *options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (work_dir / 'step2/epoch_2.pth').is_file()
    assert not (work_dir / 'step1/epoch_2.pth').exists()
    result = run(*args, '--resume', *options)
    assert result.returncode == 0, result.stderr[-3000:]
    (line,) = [x for x in result.stdout.splitlines() if 'All steps in' in x]
    assert f'The last checkpoint is {work_dir}/step2/epoch_2.pth.' in line


@pytest.mark.slow
def test_two_machines(write_config, tmp_path):
    """Two launchers, each with the rank of its machine: one run of two processes."""
    config = write_config(
        {
            'custom_hooks': [dict(type='EMAHook', momentum=0.1)],
            'train_dataloader.batch_size': 2,
            'train_cfg.max_epochs': 1,
        }
    )
    work_dir = tmp_path / 'work'
    common = dict(NNODES=2, MASTER_ADDR='127.0.0.1', PORT=free_port())
    call = [ROOT / 'tools/dist_train.sh', config, 1, '--work-dir', work_dir]
    logs = [tmp_path / f'{rank}.log' for rank in range(2)]
    machines = [
        subprocess.Popen(
            ['bash', *map(str, call)],
            env=environment(NODE_RANK=rank, **common),
            stdout=logs[rank].open('w'),
            stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]
    codes = [machine.wait(timeout=600) for machine in machines]
    assert codes == [0, 0], [log.read_text()[-2000:] for log in logs]
    checkpoint = work_dir / 'step2/epoch_1.pth'
    assert (work_dir / 'step2/finished_checkpoint').read_text() == str(checkpoint)
    # 8 images, 2 in each of 2 processes: two iterations.
    assert torch.load(checkpoint, weights_only=False)['meta']['iter'] == 2


@pytest.fixture
def srun(tmp_path):
    """Stands in for Slurm's: writes its options down, and runs the command once."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    stub = folder / 'srun'
    stub.write_text(
        f"""#!/bin/bash
while [[ $1 == -* ]]; do
    echo "$1" >> '{tmp_path}/options'
    [ "$1" != -p ] || shift
    shift
done
SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_NODELIST=localhost exec "$@"
"""
    )
    stub.chmod(0o755)
    return dict(PATH=f'{folder}:{os.environ["PATH"]}')


@pytest.mark.parametrize(
    ('script', 'words'),
    [
        ('slurm_train.sh', ['my config.py', 'work']),
        ('slurm_test.sh', ['my config.py', 'my.pth']),
    ],
)
def test_slurm(script, words, srun, tmp_path):
    """What srun gets, and the command that it starts in every process."""
    result = run(
        *(script, 'part', 'a job', *words, '--amp', '--seed=3'),
        **srun,
        PYTHON='echo',
        GPUS=16,
        SRUN_ARGS='--time=10 --quiet',
    )
    assert result.returncode == 0, result.stderr
    options = (tmp_path / 'options').read_text().splitlines()
    assert {'-p', '--job-name=a job', '--gres=gpu:8', '--ntasks=16'} <= set(options)
    assert {'--ntasks-per-node=8', '--time=10', '--quiet'} <= set(options)
    line = result.stdout.strip()
    assert 'my config.py' in line and line.endswith('--launcher=slurm --amp --seed=3')
    # Fewer than a machine has: no more are asked for.
    run(script, 'part', 'job', *words, **srun, PYTHON='echo', GPUS=2)
    options = (tmp_path / 'options').read_text().splitlines()
    assert {'--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2'} <= set(options)
    result = run(script, 'part', 'job')
    assert result.returncode == 2 and f'{script} PARTITION JOB' in result.stderr


@pytest.mark.slow
def test_slurm_without_gpus(srun, write_config, tmp_path):
    """The command starts; without a GPU it ends with one line that says what to do."""
    result = run(
        'slurm_train.sh', 'part', 'job', write_config(), tmp_path / 'w', **srun
    )
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert 'needs a GPU in every process' in line and 'torchrun' in line


@pytest.mark.parametrize(
    ('script', 'words'),
    [
        ('dist_train.sh', 'CONFIG'),
        ('dist_test.sh', 'CONFIG'),
        ('dist_infer.sh', 'PROCESSES IMAGES'),
    ],
)
def test_usage(script, words):
    result = run(script, 'config.py')
    assert result.returncode == 2
    assert f'{script} {words}' in result.stderr
