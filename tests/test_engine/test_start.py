# SPDX-License-Identifier: Apache-2.0
"""Where a run starts, by files in its folders. Whole runs: test_stepwise_runner.py."""

import dataclasses
import re

import pytest
import torch
from mmengine.config import Config

from mlcl_plugin.engine import Start, find_start, run_has_begun
from mlcl_plugin.engine.runner.start import weights_for_step
from mlcl_plugin.errors import CheckpointError, FinishedError

NAMES = ['step1', 'step2', 'step3']


@pytest.fixture
def cfg(tmp_path):
    steps = {name: dict() for name in NAMES}
    return Config(dict(work_dir=str(tmp_path / 'work'), steps=steps))


def save(path):
    """Write a small file that has what a resume needs."""
    parts = ('meta', 'message_hub', 'state_dict', 'optimizer')
    torch.save({part: {} for part in parts}, path)


@pytest.fixture
def leave(tmp_path):
    """Function that leaves a pointer, and the checkpoint that it names."""

    def write(step, pointer, checkpoint='epoch_1.pth', exists=True):
        folder = tmp_path / 'work' / step
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / checkpoint
        if exists:
            save(path)
        (folder / pointer).write_text(str(path))
        return str(path)

    return write


def files(cfg, tmp_path):
    return {
        path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()
    }, cfg.to_dict()


def check(cfg, tmp_path, expected):
    """Compare the start with the expected one; nothing is changed."""
    before = files(cfg, tmp_path)
    assert find_start(cfg) == expected
    assert files(cfg, tmp_path) == before


def test_anew(cfg, leave, tmp_path):
    """Without ``resume`` the folders do not matter."""
    check(cfg, tmp_path, Start('step1'))
    leave('step1', 'finished_checkpoint')
    leave('step2', 'last_checkpoint')
    check(cfg, tmp_path, Start('step1'))
    cfg.resume, cfg.load_from = False, None
    check(cfg, tmp_path, Start('step1'))


def test_nothing_begun(cfg, tmp_path):
    cfg.resume = True
    check(cfg, tmp_path, Start('step1', from_folders=True))


def test_inside_a_step(cfg, leave, tmp_path):
    cfg.resume = True
    first = leave('step1', 'last_checkpoint')
    check(cfg, tmp_path, Start('step1', resume_from=first, from_folders=True))
    leave('step1', 'finished_checkpoint')
    check(cfg, tmp_path, Start('step2', from_folders=True))
    second = leave('step2', 'last_checkpoint')
    check(cfg, tmp_path, Start('step2', resume_from=second, from_folders=True))


def test_given_weights(cfg, leave, tmp_path):
    """They count until the step has its own checkpoint."""
    cfg.resume = True
    leave('step1', 'finished_checkpoint')
    given = leave('step2', 'started_from', 'given.pth')
    check(cfg, tmp_path, Start('step2', weights=given, from_folders=True))
    own = leave('step2', 'last_checkpoint')
    check(cfg, tmp_path, Start('step2', resume_from=own, from_folders=True))


@pytest.mark.parametrize('content', [b'', b'PK', None])
def test_latest_is_damaged(cfg, leave, tmp_path, content):
    """Then the newest good one counts."""
    cfg.resume = True
    good = leave('step2', 'last_checkpoint', 'epoch_1.pth')
    latest = leave('step2', 'last_checkpoint', 'epoch_2.pth')
    check(cfg, tmp_path, Start('step2', resume_from=latest, from_folders=True))
    path = tmp_path / 'work/step2/epoch_2.pth'
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    check(cfg, tmp_path, Start('step2', resume_from=good, from_folders=True))


def test_last_step_counts(cfg, leave, tmp_path):
    """A call with given weights has left out the steps before."""
    cfg.resume = True
    leave('step1', 'last_checkpoint')
    latest = leave('step3', 'last_checkpoint')
    check(cfg, tmp_path, Start('step3', resume_from=latest, from_folders=True))


def test_all_finished(cfg, leave):
    cfg.resume = True
    leave('step3', 'finished_checkpoint')
    message = r'All steps in .*work are finished \(step1, step2, step3\)\. Set resume='
    with pytest.raises(FinishedError, match=message):
        find_start(cfg)
    latest = re.escape(leave('step3', 'last_checkpoint'))
    with pytest.raises(FinishedError, match=rf'The last checkpoint is {latest}\. Set'):
        find_start(cfg)


@pytest.mark.parametrize('step', NAMES)
def test_named_checkpoint(cfg, leave, tmp_path, step):
    """The folders do not matter, only the name of that of the checkpoint."""
    cfg.load_from, cfg.resume = leave(step, 'finished_checkpoint'), True
    leave('step3', 'finished_checkpoint')
    check(cfg, tmp_path, Start(step, resume_from=cfg.load_from))


def test_named_checkpoint_elsewhere(cfg, tmp_path):
    file = tmp_path / 'elsewhere/epoch_1.pth'
    file.parent.mkdir()
    file.touch()
    cfg.load_from, cfg.resume = str(file), True
    with pytest.raises(ValueError, match=r"'elsewhere', expected one of .*'step3'\]"):
        find_start(cfg)


def test_weights(cfg, leave, tmp_path):
    cfg.load_from = leave('step1', 'last_checkpoint')
    check(cfg, tmp_path, Start('step2', weights=cfg.load_from))
    cfg.load_from = 'https://example.org/weights.pth'
    check(cfg, tmp_path, Start('step2', weights=cfg.load_from))
    cfg.steps = dict(step1=dict())
    with pytest.raises(ValueError, match=r"\['step1'\].*steps.step1.load_from"):
        find_start(cfg)


def test_checkpoint_is_gone(cfg, leave, tmp_path):
    cfg.resume = True
    leave('step2', 'started_from', 'given.pth', exists=False)
    with pytest.raises(FileNotFoundError, match=r'given\.pth does not exist\.$'):
        find_start(cfg)
    leave('step2', 'last_checkpoint', exists=False)
    message = r'epoch_1\.pth does not exist\. .*step2/last_checkpoint, or delete'
    with pytest.raises(CheckpointError, match=message):
        find_start(cfg)
    for resume in (True, False):
        cfg.load_from, cfg.resume = str(tmp_path / 'step1/gone.pth'), resume
        with pytest.raises(FileNotFoundError, match=r'gone\.pth does not exist'):
            find_start(cfg)


def test_start_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Start('step1').step = 'step2'


def test_weights_for_step(cfg, leave, tmp_path):
    assert weights_for_step(cfg, 'step1') is None
    with pytest.raises(
        FileNotFoundError, match='step2 starts from .*step1.*CheckpointH'
    ):
        weights_for_step(cfg, 'step2')
    latest = leave('step1', 'last_checkpoint', 'epoch_2.pth')
    assert weights_for_step(cfg, 'step2') == latest
    cfg.steps.step2.init_from = 'epoch_1.pth'
    with pytest.raises(FileNotFoundError, match=r'step1/epoch_1\.pth does not exist'):
        weights_for_step(cfg, 'step2')
    earlier = tmp_path / 'work/step1/epoch_1.pth'
    earlier.touch()
    assert weights_for_step(cfg, 'step2') == str(earlier)


@pytest.mark.parametrize('step', ['', 'step1', 'step3'])
def test_run_has_begun(cfg, leave, step):
    assert not run_has_begun(cfg)
    leave(step, 'last_checkpoint')
    assert run_has_begun(cfg)
    plain = Config(dict(work_dir=cfg.work_dir))
    assert run_has_begun(plain) is (step == '')
