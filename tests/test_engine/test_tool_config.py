# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mlcl_plugin.engine import (
    CheckedRunner,
    StepwiseRunner,
    build_runner,
    load_config,
    load_step_config,
    merge_options,
    set_resume,
    set_work_dir,
    skip_validation,
)

CONFIG = """
resume = 1
auto_scale_lr = dict(base_batch_size=1)
custom_hooks = [1]
steps = dict(step1=dict(), step2=dict(resume=2))
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'recipe.py'
    path.write_text(CONFIG)
    return path


def test_load_config(path):
    assert load_config(path, {'auto_scale_lr.enable': 3}).auto_scale_lr.enable == 3
    assert load_config(path, {'steps.step2.resume': 3}).steps.step2.resume == 3


def test_load_step_config(path):
    assert [
        load_step_config(path, step=s).resume for s in (None, 'step1', 'step2')
    ] == [
        1,
        1,
        2,
    ]
    assert load_step_config(path, {'steps.step2.resume': 3}, 'step2').resume == 3
    with pytest.raises(ValueError, match="no step 'step3'"):
        load_step_config(path, {'resume': 3}, 'step3')


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('steps.step3.resume', "no step 'step3'"),
        ('resum', 'no run reads resum. Did you mean resume?'),
        (
            'custom_hooks.7',
            'custom_hooks.7 do not fit the config: Index 7 exceeds the length',
        ),
        ('resume.x', 'resume.x do not fit the config: .* is of type'),
        ('custom_hooks.x', 'custom_hooks.x do not fit the config'),
    ],
)
def test_options_that_do_not_fit(path, option, message):
    with pytest.raises(ValueError, match=message):
        load_config(path, {option: 1})


def test_no_options():
    cfg = Config(dict(a=1))
    merge_options(cfg, None)
    merge_options(cfg, {})
    assert cfg.to_dict() == dict(a=1)


def test_configs_that_cannot_be_read(path):
    with pytest.raises(FileNotFoundError, match='gone.py'):
        load_config(path.with_name('gone.py'))
    path.write_text('a = b')
    with pytest.raises(ValueError, match='recipe.py cannot be read: NameError: .*b'):
        load_config(path)
    path.write_text('a = (')
    with pytest.raises(ValueError, match='recipe.py cannot be read: SyntaxError'):
        load_step_config(path)


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
