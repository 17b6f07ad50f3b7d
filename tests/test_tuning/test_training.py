# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mlcl_plugin.tuning.training import (
    ValidationHook,
    Validations,
    check_runner,
    train_trial,
)


@pytest.fixture
def heard():
    return []


@pytest.fixture
def train(load_config, heard):
    """Function that trains a tiny config; it validates on images of its own."""

    def train(changes=None, steps=True):
        cfg = load_config(changes)
        if not steps:
            cfg.pop('steps'), cfg.pop('runner_type')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return train_trial(cfg, lambda *told: heard.append(told))

    return train


def test_every_validation_is_told(train, heard):
    """Through both steps; the last one is the result."""
    result = train()
    assert [number for _, number in heard] == [1, 2, 3, 4]
    assert result == heard[-1][0] and all(0 <= score <= 100 for score, _ in heard)


def test_without_steps(train, heard):
    assert train(steps=False) == heard[-1][0] and len(heard) == 2


def test_last_step_is_not_validated(train):
    with pytest.raises(ValueError, match='last step ends without a validation'):
        train({'train_cfg.max_epochs': 1, 'steps.step2.train_cfg': dict(val_begin=9)})


def test_no_map(train):
    # Another metric of MMPretrain.
    evaluator = dict(type='MultiLabelMetric', _delete_=True)
    with pytest.raises(ValueError, match='but val_evaluator gives multi'):
        train({'val_evaluator': evaluator}, steps=False)


def test_map_is_not_a_number(heard):
    """As that of images without any label."""
    hook = ValidationHook(Validations(lambda *told: heard.append(told)))
    with pytest.raises(ValueError, match='mAP of the held-out images is not a number'):
        hook.after_val_epoch(None, {'multi-label/mAP': math.nan})
    assert not heard


def test_other_runner():
    with pytest.raises(ValueError, match='runner_type must be StepwiseRunner or missi'):
        check_runner(Config(dict(runner_type='FlexibleRunner')))
    check_runner(Config(dict(runner_type='mmpretrain.StepwiseRunner')))
    check_runner(Config())
