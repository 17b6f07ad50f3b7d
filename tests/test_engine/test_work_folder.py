# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from mlcl_plugin.engine import CheckedRunner, work_folder
from mlcl_plugin.engine.process_table import state_of
from mlcl_plugin.engine.work_folder import LOCK, hold_folder
from mlcl_plugin.errors import FolderInUseError
from tests.child_process import CONTEXT
from tests.marks import rare


def wait():
    with hold_folder(sys.argv[1]):
        print('held', flush=True)
        time.sleep(300)


def hold(folder, connection):
    with hold_folder(folder):
        connection.send('held')
        connection.recv()


@pytest.fixture
def other_process(tmp_path):
    """A process that holds the folder ``work``."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=hold, args=(str(tmp_path / 'work'), there))
    process.start()
    assert here.poll(60) and here.recv() == 'held'
    yield process
    process.kill()
    process.join()


def write(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK).write_text(json.dumps(content))


def test_held_and_released(tmp_path):
    folder = tmp_path / 'work'
    with hold_folder(folder):
        content = json.loads((folder / LOCK).read_text())
        assert content['pid'] == os.getpid()
        assert os.listdir(folder) == [LOCK]
    assert os.listdir(folder) == []
    with pytest.raises(ZeroDivisionError), hold_folder(folder):
        1 / 0  # noqa: B018
    assert os.listdir(folder) == []


def test_same_process_enters_again(tmp_path):
    with hold_folder(tmp_path):
        with hold_folder(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()


def test_another_process(tmp_path, other_process):
    folder = tmp_path / 'work'
    message = (
        rf'Process {other_process.pid} on .* writes into {folder} since 2.*\. Wait for '
        rf'it, stop it, or set another work_dir.*delete {folder}/{LOCK}\.$'
    )
    with pytest.raises(FolderInUseError, match=message), hold_folder(folder):
        pass
    # Its file is left alone.
    assert json.loads((folder / LOCK).read_text())['pid'] == other_process.pid
    other_process.kill()
    other_process.join()
    with hold_folder(folder):
        assert json.loads((folder / LOCK).read_text())['pid'] == os.getpid()
    assert os.listdir(folder) == []


@pytest.mark.slow
def test_process_that_is_not_waited_for(tmp_path):
    """A dead child still has its number."""
    call = 'import sys; from tests.test_engine import test_work_folder as t; t.wait()'
    with subprocess.Popen(
        [sys.executable, '-c', call, str(tmp_path / 'work')],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while process.stdout.readline().strip() != 'held':
            assert process.poll() is None
        process.kill()
        while state_of(process.pid) != 'Z':
            time.sleep(0.01)
        with hold_folder(tmp_path / 'work'):
            pass


def test_number_of_a_dead_process_is_used_again(tmp_path):
    host = work_folder.socket.gethostname()
    write(tmp_path, pid=os.getppid(), host=host, started='another time')
    with hold_folder(tmp_path):
        pass
    write(tmp_path, pid=os.getppid(), host=host, started=None)
    with pytest.raises(FolderInUseError, match='writes into'), hold_folder(tmp_path):
        pass


@pytest.mark.parametrize('content', ['', 'text', '[]', '{}', '{"pid": "x"}'])
def test_damaged_file(tmp_path, monkeypatch, content):
    """It is taken over if nobody renews it."""
    monkeypatch.setattr(work_folder, 'SILENCE', 0.3)
    (tmp_path / LOCK).write_text(content)
    with hold_folder(tmp_path):
        pass


def test_another_machine(tmp_path, monkeypatch):
    """Its run is alive as long as it renews the file."""
    monkeypatch.setattr(work_folder, 'SILENCE', 1.0)
    write(tmp_path, pid=1, host='elsewhere', since='2026')
    stop = threading.Event()

    def renew():
        while not stop.wait(0.05):
            os.utime(tmp_path / LOCK)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with (
            pytest.raises(FolderInUseError, match='Process 1 on elsewhere writes into'),
            hold_folder(tmp_path),
        ):
            pass
    finally:
        stop.set()
        thread.join()
    with hold_folder(tmp_path):
        pass


def test_file_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(work_folder, 'BEAT', 0.02)
    with hold_folder(tmp_path):
        os.utime(tmp_path / LOCK, (1, 1))
        end = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime == 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert (tmp_path / LOCK).stat().st_mtime > 1


def test_two_take_over_at_once(tmp_path, monkeypatch):
    """The file of the faster one stays."""
    write(tmp_path, pid=2**22 + 1, host=work_folder.socket.gethostname())
    lock = work_folder._Lock(tmp_path / LOCK)
    stale = work_folder._content(tmp_path / LOCK)
    write(tmp_path, pid=os.getppid(), host='elsewhere')
    lock._take_over(stale)
    assert work_folder._content(tmp_path / LOCK)['host'] == 'elsewhere'
    assert os.listdir(tmp_path) == [LOCK]


def test_file_system_without_links(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(os, 'link', fail)
    with hold_folder(tmp_path):
        assert os.listdir(tmp_path) == [LOCK]
        assert not work_folder._Lock(tmp_path / LOCK)._create()


@pytest.mark.parametrize('links', [True, False])
def test_disk_is_full(tmp_path, monkeypatch, links):
    """Nothing is left that would keep the next run out."""

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    if links:
        monkeypatch.setattr(work_folder.Path, 'write_text', full)
    else:
        opened = work_folder.Path.open

        def open_full(path, mode='r', *args, **kwargs):
            file = opened(path, mode, *args, **kwargs)
            if mode == 'x':
                monkeypatch.setattr(file, 'write', full, raising=False)
            return file

        monkeypatch.setattr(os, 'link', full)
        monkeypatch.setattr(work_folder.Path, 'open', open_full)
    message = 'Cannot write into .*: No space left on device. Make room'
    with pytest.raises(FolderInUseError, match=message), hold_folder(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    with (
        pytest.raises(
            FolderInUseError, match='Cannot write into .*: Not a dir.*set ano'
        ),
        hold_folder(tmp_path / 'file/work'),
    ):
        pass


@pytest.mark.parametrize('steps', [True, rare(False)])
def test_training(load_config, record, tmp_path, other_process, steps):
    """With steps and without, and nothing in the folder is changed."""
    cfg = load_config()
    cfg.work_dir = str(tmp_path / 'work')
    if steps:
        from mlcl_plugin.engine import StepwiseRunner

        runner = StepwiseRunner(cfg)
    else:
        cfg.pop('steps'), cfg.pop('runner_type')
        runner = CheckedRunner.from_cfg(cfg)
    with pytest.raises(FolderInUseError, match=f'Process {other_process.pid} on'):
        runner.train()
    assert record.events == []
    assert not (tmp_path / 'work/last_checkpoint').exists()
