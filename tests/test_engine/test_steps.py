# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.config import ConfigDict

from mlcl_plugin.engine import check_step_options

STEPS = ConfigDict(
    step1=dict(train_cfg=dict(max_epochs=15)),
    step2=dict(
        optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01)),
        param_scheduler=[dict(type='StepLR', step_size=20)],
        val_evaluator=None,
    ),
)


@pytest.fixture
def warnings(monkeypatch):
    """What is logged: text and level."""
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.steps.print_log',
        lambda text, logger, level: logged.append((text, level)),
    )
    return logged


@pytest.mark.parametrize('key', ['steps.stp2.train_cfg.max_epochs', 'steps.step3'])
def test_unknown_step(key):
    with pytest.raises(ValueError, match=rf"{key}: .*\['step1', 'step2'\]"):
        check_step_options(STEPS, {'train_cfg.max_epochs': 1, key: 1})


def test_config_without_steps(warnings):
    check_step_options(None, {'train_cfg.max_epochs': 1})
    with pytest.raises(ValueError, match=r"no step 'step1', expected one of \[\]"):
        check_step_options(None, {'steps.step1.train_cfg.max_epochs': 1})
    assert warnings == []


@pytest.mark.parametrize(
    ('key', 'step'),
    [
        ('train_cfg.max_epochs', 'step1'),
        # deleted with the rest of the dict
        ('optim_wrapper.optimizer.weight_decay', 'step2'),
        ('optim_wrapper.optimizer', 'step2'),
        # part of a list, or of what is no dict any more
        ('param_scheduler.0.step_size', 'step2'),
        ('val_evaluator.classwise', 'step2'),
    ],
)
def test_without_effect(warnings, key, step):
    check_step_options(STEPS, {key: 1})
    ((text, level),) = warnings
    assert level == 30
    assert text.startswith(f'{key} has no effect on {step}')
    assert text.endswith(f'Use steps.{step}.{key}.')


@pytest.mark.parametrize(
    'keys',
    [
        ['train_cfg.val_interval'],
        ['train_cfg'],
        ['optim_wrapper.clip_grad.max_norm'],
        # asked for
        ['train_cfg.max_epochs', 'steps.step1.train_cfg.max_epochs'],
        ['steps.step2.optim_wrapper.optimizer.lr'],
    ],
)
def test_with_effect(warnings, keys):
    check_step_options(STEPS, dict.fromkeys(keys, 1))
    assert warnings == []
