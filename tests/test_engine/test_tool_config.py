# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mlcl_plugin.engine import (
    CheckedRunner,
    StepwiseRunner,
    build_runner,
    set_resume,
    set_work_dir,
    skip_validation,
)


@pytest.mark.parametrize(
    ('fields', 'argument', 'expected'),
    [
        ({}, None, './work_dirs/recipe'),
        (dict(work_dir=None), None, './work_dirs/recipe'),
        (dict(work_dir='configured'), None, 'configured'),
        (dict(work_dir='configured'), 'there', 'there'),
        ({}, 'there', 'there'),
    ],
)
def test_work_dir(fields, argument, expected):
    cfg = Config(fields)
    set_work_dir(cfg, 'configs/recipe.py', argument)
    assert cfg.work_dir == expected


def test_no_resume():
    for fields in ({}, dict(load_from='a.pth', resume=True)):
        cfg = Config(dict(fields))
        set_resume(cfg, None)
        assert cfg.to_dict() == fields


def test_resume_from_checkpoint():
    cfg = Config(dict(load_from='other.pth'))
    set_resume(cfg, 'epoch_1.pth')
    assert cfg.to_dict() == dict(load_from='epoch_1.pth', resume=True)


@pytest.mark.parametrize('place', ['', 'step2'])
def test_resume_latest(tmp_path, place):
    steps = dict(step1={}, step2={}) if place else None
    cfg = Config(dict(work_dir=str(tmp_path), load_from='a.pth', steps=steps))
    # nothing has begun: weights to start from stay
    set_resume(cfg, 'auto')
    assert cfg.resume is False and cfg.load_from == 'a.pth'
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / 'last_checkpoint').touch()
    set_resume(cfg, 'auto')
    assert cfg.resume is True and cfg.load_from is None


def test_skip_validation():
    fields = ('val_cfg', 'val_dataloader', 'val_evaluator')
    cfg = Config({name: dict(type='Any') for name in (*fields, 'test_cfg')})
    skip_validation(cfg)
    assert cfg.to_dict() == dict(dict.fromkeys(fields), test_cfg=dict(type='Any'))


def test_runner_of_a_config_with_steps(load_config):
    assert type(build_runner(load_config())) is StepwiseRunner


def test_runner_of_a_plain_config(load_config):
    cfg = load_config()
    cfg.pop('steps'), cfg.pop('runner_type')
    runner = build_runner(cfg)
    assert type(runner) is CheckedRunner
    # as is one that the config names
    RUNNERS.register_module(name='OwnRunner', module=type('Own', (Runner,), {}))
    cfg.runner_type = 'OwnRunner'
    cfg.experiment_name = 'own'
    try:
        assert type(build_runner(cfg)) is RUNNERS.get('OwnRunner')
    finally:
        RUNNERS.module_dict.pop('OwnRunner')
