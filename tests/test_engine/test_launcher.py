# SPDX-License-Identifier: Apache-2.0
import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mlcl_plugin.engine import check_restart, end_with_launcher, process_table
from mlcl_plugin.engine.process_table import runs, start_of, state_of
from mlcl_plugin.errors import RestartError

posix = pytest.mark.skipif(os.name != 'posix', reason='needs signals')


def ends(pid, seconds=5):
    """Whether a process ends within some seconds."""
    end = time.monotonic() + seconds
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not runs(pid)


@posix
@pytest.mark.parametrize('launcher', ['pytorch', 'none'])
@pytest.mark.parametrize('system', ['linux', 'another'])
@pytest.mark.parametrize('stopped', [False, True])
def test_launcher_is_killed(launcher, system, stopped, monkeypatch):
    """Its processes end, also stopped ones on Linux."""
    if system == 'linux' and sys.platform != 'linux':
        pytest.skip('needs Linux')
    if stopped and system == 'another':
        pytest.skip('a stopped process does not look')
    monkeypatch.setattr(sys, 'platform', system)
    reader, writer = os.pipe()
    agent = os.fork()
    if agent == 0:
        rank = os.fork()
        if rank == 0:
            end_with_launcher(Config(dict(launcher=launcher)))
            os.write(writer, str(os.getpid()).encode())
            time.sleep(30)
            os._exit(0)
        time.sleep(30)
        os._exit(0)
    rank = int(os.read(reader, 20))
    try:
        if stopped:
            os.kill(rank, signal.SIGSTOP)
        os.kill(agent, signal.SIGKILL)
        os.waitpid(agent, 0)
        if launcher == 'pytorch':
            assert ends(rank)
        else:
            assert not ends(rank, 0.3)
    finally:
        if runs(rank):
            os.kill(rank, signal.SIGKILL)
        os.close(reader), os.close(writer)


def test_restart(monkeypatch):
    launched = Config(dict(launcher='pytorch'))
    check_restart(launched, resume=False)
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '2')
    check_restart(launched, resume=True)
    check_restart(Config(dict(launcher='none')), resume=False)
    with pytest.raises(RestartError, match=r'again \(restart 2\), but without resume'):
        check_restart(launched, resume=False)


@posix
@pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')
def test_process_table():
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        assert runs(child) and runs(os.getpid())
        assert start_of(child) == start_of(child) != start_of(1)
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        assert state_of(child) == 'T'
    finally:
        os.kill(child, signal.SIGKILL)
    end = time.monotonic() + 5
    while state_of(child) != 'Z' and time.monotonic() < end:
        time.sleep(0.01)
    assert not runs(child)
    os.waitpid(child, 0)
    assert not runs(child) and state_of(child) is start_of(child) is None


def test_process_table_of_another_system(monkeypatch):
    """No signal is sent."""
    monkeypatch.setattr(process_table, 'os', SimpleNamespace(name='nt'))
    assert runs(2**22 + 1)
