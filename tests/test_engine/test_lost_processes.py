# SPDX-License-Identifier: Apache-2.0
"""Runs of two processes of which one dies or is stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mlcl_plugin.engine import lost_processes
from mlcl_plugin.engine.lost_processes import named_losses
from mlcl_plugin.engine.process_table import runs, start_of
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.errors import LostProcessError

ROOT = Path(__file__).parents[2]
MESSAGES = [
    '[/x/unbound_buffer.cc:78] Timed out waiting 10000ms for recv operation',
    '[/x/pair.cc:534] Connection closed by peer [127.0.0.1]:1',
    'NCCL communicator was aborted on rank 1',
    'Rank 1 failed to pass monitoredBarrier: Application timeout',
]


@pytest.fixture
def group(monkeypatch):
    """Function that lets this process believe in others."""

    def make(*others):
        own = lost_processes._Process(
            0, socket.gethostname(), os.getpid(), start_of(os.getpid())
        )
        monkeypatch.setattr(lost_processes, 'get_world_size', lambda: 1 + len(others))
        monkeypatch.setattr(
            lost_processes, 'all_gather_object', lambda _: [own, *others]
        )

    return make


def process(rank, pid, host=None, start='guess'):
    start = start_of(pid) if start == 'guess' else start
    return lost_processes._Process(rank, host or socket.gethostname(), pid, start)


def fail(text='Connection closed by peer', kind=RuntimeError):
    with named_losses():
        raise kind(text)


@pytest.mark.parametrize('text', MESSAGES)
def test_signs(text, group):
    group(process(1, os.getppid()))
    with pytest.raises(LostProcessError) as info:
        fail(text)
    assert str(info.value).startswith('Process 0 of 2 cannot reach the others')
    assert 'The others of this machine run. Checkpoints are intact' in str(info.value)


def test_errors_of_torch(group):
    group(process(1, os.getppid()))
    with pytest.raises(LostProcessError):
        fail('unknown', torch.distributed.DistBackendError)


def test_other_errors(group):
    group(process(1, os.getppid()))
    with pytest.raises(RuntimeError, match='^shapes differ$'):
        fail('shapes differ')
    with pytest.raises(ValueError, match='timed out'):
        fail('timed out', ValueError)
    with pytest.raises(RuntimeError, match='^DataLoader timed out after 9 seconds$'):
        fail('DataLoader timed out after 9 seconds')
    with pytest.raises(LostProcessError, match='^named$'):
        fail('named', LostProcessError)


def test_one_process():
    with pytest.raises(RuntimeError, match='^Connection closed by peer$'):
        fail()


@pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')
def test_who(group):
    """Dead ones, stopped ones, an id that another process has now, other machines."""
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    stopped = process(2, child)
    os.kill(child, signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    try:
        group(
            process(1, 2**22 + 1),
            stopped,
            process(3, os.getppid(), start='earlier'),
            process(4, os.getppid()),
            process(5, 1, host='other'),
        )
        expected = (
            f'Process 1 (id {2**22 + 1}) is dead; process 2 (id {child}) is stopped; '
            f'process 3 (id {os.getppid()}) is dead; see also other.'
        )
        with pytest.raises(LostProcessError, match=re.escape(expected)):
            fail()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# --- whole runs -------------------------------------------------------------------


@pytest.fixture
def launch(write_config, tmp_path):
    """Function that starts tools/dist_train.sh with two processes, and its log."""
    config = write_config(
        {
            'train_dataloader.batch_size': 2,
            'train_cfg.max_epochs': 40,
            'custom_hooks': [dict(type='EMAHook', momentum=0.1)],
            'default_hooks.checkpoint': dict(
                by_epoch=False, interval=4, max_keep_ckpts=1
            ),
            'env_cfg.dist_cfg.timeout': 10,
        }
    )
    started = []

    def start(name='work', epochs=40, **environment):
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = str(server.getsockname()[1])
        log = (tmp_path / f'{name}.log').open('w')
        options = ['--work-dir', tmp_path / name, '--cfg-options']
        options += [f'train_cfg.max_epochs={epochs}']
        run = subprocess.Popen(
            ['bash', ROOT / 'tools/dist_train.sh', config, '2', *options],
            env=dict(
                os.environ,
                OMP_NUM_THREADS='1',
                CUDA_VISIBLE_DEVICES='-1',
                PORT=port,
                PYTHON=sys.executable,
                **environment,
            ),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started.append(run)
        return run

    yield start
    for run in started:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def ranks_of(run):
    """Ids of the processes that train, in the order of their ranks."""
    found = subprocess.run(
        ['ps', '-o', 'pid=,args=', '--ppid', str(run.pid)],
        capture_output=True,
        text=True,
    ).stdout
    return [int(x.split()[0]) for x in found.splitlines() if 'train.py' in x]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'rank'), [('SIGKILL', 1), ('SIGSTOP', 1), ('SIGSTOP', 0)]
)
def test_rank_is_lost(name, rank, launch, tmp_path):
    """The run ends after the timeout and torchrun's 30 seconds, with the cause."""
    run = launch()
    step = tmp_path / 'work/step1'
    wait_for(lambda: list(step.glob('iter_*.pth')) or run.poll() is not None)
    ranks = ranks_of(run)
    begun = time.monotonic()
    os.kill(ranks[rank], getattr(signal, name))
    assert run.wait(timeout=240) != 0
    seconds = time.monotonic() - begun
    print(f'{name} of process {rank}: {seconds:.1f} s')
    # On a free machine 2 s, or 10 s and torchrun's 30 s.
    assert seconds < (60 if name == 'SIGKILL' else 120)
    assert not any(map(runs, ranks))
    text = (tmp_path / 'work.log').read_text()
    if name == 'SIGKILL':
        # torchrun may end the other process before that can say anything.
        assert re.search(rf'rank *: {rank}.*exitcode *: -9', text, re.DOTALL)
    else:
        assert f'process {rank} (id {ranks[rank]}) is stopped' in text.lower()
    (latest,) = step.glob('iter_*.pth')
    assert (step / 'last_checkpoint').read_text() == str(latest)


@pytest.mark.slow
def test_launcher_is_killed(launch, tmp_path):
    """No process goes on without it."""
    run = launch()
    step = tmp_path / 'work/step1'
    wait_for(lambda: list(step.glob('iter_*.pth')) or run.poll() is not None)
    ranks = ranks_of(run)
    assert len(ranks) == 2
    begun = time.monotonic()
    run.kill()
    run.wait()
    wait_for(lambda: not any(map(runs, ranks)), 10)
    print(f'ended after {time.monotonic() - begun:.2f} s')


@pytest.mark.slow
def test_restart(launch, tmp_path):
    """torchrun starts a run again, which ends as one that nothing disturbs."""
    assert launch('whole', 3).wait() == 0
    run = launch('work', 3, MAX_RESTARTS='2')
    step = tmp_path / 'work/step1'
    wait_for(lambda: list(step.glob('iter_*.pth')) or run.poll() is not None)
    os.kill(ranks_of(run)[1], signal.SIGKILL)
    assert run.wait(timeout=400) == 0, (tmp_path / 'work.log').read_text()[-3000:]
    assert 'resumed epoch' in (tmp_path / 'work.log').read_text()
    for name in ('step1/iter_6.pth', 'step2/iter_6.pth'):
        contents = [read_checkpoint(tmp_path / d / name) for d in ('work', 'whole')]
        for part in ('state_dict', 'ema_state_dict'):
            assert contents[0][part].keys() == contents[1][part].keys()
            for key, value in contents[0][part].items():
                assert torch.equal(value, contents[1][part][key]), key
