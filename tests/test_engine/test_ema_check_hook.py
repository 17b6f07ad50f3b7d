# SPDX-License-Identifier: Apache-2.0
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from mlcl_plugin.engine import EMACheckHook
from mlcl_plugin.engine.hooks import ema_check_hook

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def warnings(monkeypatch):
    """What is logged as a warning."""
    messages = []

    def print_log(message, logger, level):
        assert (logger, level) == ('current', logging.WARNING)
        messages.append(message)

    monkeypatch.setattr(ema_check_hook, 'print_log', print_log)
    return messages


def run(max_iters, iters_per_epoch=10, max_share=0.05, **kwargs):
    """The hook at the start of a training with an EMA hook."""
    ema = HOOKS.build(dict(type='EMAHook', **kwargs))
    runner = SimpleNamespace(
        model=nn.Linear(1, 1),
        max_iters=max_iters,
        train_dataloader=range(iters_per_epoch),
        hooks=[ema],
    )
    ema.before_run(runner)
    EMACheckHook(max_share).before_train(runner)


def share_left(momentum, iterations, interval=1):
    """Measure with MMEngine's average: the weight is 1 at first and 0 afterwards."""
    model = nn.Linear(1, 1, bias=False).double()
    average = ExponentialMovingAverage(model, momentum, interval)
    for iteration in range(iterations + 1):
        with torch.no_grad():
            model.weight.fill_(iteration == 0)
        average.update_parameters(model)
    return average.module.weight.item()


@pytest.mark.parametrize(
    ('momentum', 'iterations', 'interval'),
    [(0.0003, 2340, 1), (0.0003, 1000, 1), (0.01, 290, 1), (0.05, 400, 10)],
)
def test_share(warnings, momentum, iterations, interval):
    share = share_left(momentum, iterations, interval)
    run(iterations, momentum=momentum, interval=interval)
    (message,) = warnings
    assert f'momentum={momentum}' in message
    assert f'{iterations // interval} updates' in message
    told = int(re.search(r'(\d+)% of the average', message)[1])
    assert told == pytest.approx(100 * share, abs=0.51)
    # what it says to set is enough
    advised = float(re.search(r'here ([\d.]+)\.$', message)[1])
    assert share_left(advised, iterations, interval) < 0.001
    run(iterations, momentum=advised, interval=interval)
    assert len(warnings) == 1


def test_enough_iterations(warnings):
    run(310, momentum=0.01)
    assert not warnings
    run(310, momentum=0.01, max_share=0.01)
    assert len(warnings) == 1


@pytest.mark.parametrize('begin', [dict(begin_iter=300), dict(begin_epoch=30)])
def test_late_start(warnings, begin):
    """Iterations before the average begins do not count."""
    run(350, momentum=0.01, **begin)
    (message,) = warnings
    assert '50 updates' in message


@pytest.mark.parametrize(
    'ema_type', ['MomentumAnnealingEMA', 'StochasticWeightAverage']
)
def test_other_averages(warnings, ema_type):
    run(100, ema_type=ema_type)
    assert not warnings


def test_in_a_run(load_config, record, warnings):
    """The runtime of the recipes has the hook; the warning does not stop the run."""
    cfg = load_config({'train_cfg.max_epochs': 1})
    cfg.pop('steps'), cfg.pop('runner_type')
    Runner.from_cfg(cfg).train()
    (message,) = warnings
    assert '2 updates' in message and '81%' in message
    assert record.epochs() == [('work', 0)]


@pytest.mark.parametrize(
    ('name', 'images'),
    [
        ('mlcl_r101_coco', 82_081),
        ('mlcl_r101_coco_step1', 82_081),
        ('mlcl_r101_coco_576px', 82_081),
        ('mlcl_r101_voc07', 5_011),
        ('mlcl_efflite0_voc07', 2_501),
        ('mlcl_resnet_digits', 5_000),
    ],
)
def test_recipes(warnings, name, images):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    (ema,) = (hook for hook in cfg.custom_hooks if hook.type == 'EMAHook')
    batch_size = cfg.train_dataloader.batch_size
    for step in cfg.get('steps', dict(all={})).values():
        iters = images // step.get('train_dataloader', {}).get('batch_size', batch_size)
        iters *= step.get('train_cfg', cfg.train_cfg).max_epochs
        run(iters, momentum=ema.momentum)
    assert not warnings
