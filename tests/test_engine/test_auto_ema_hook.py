# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
from mmpretrain.registry import HOOKS
from torch import nn

from mlcl_plugin.engine import EMACheckHook


def started(max_iters, **kwargs):
    """The hook at the start of a training."""
    hook = HOOKS.build(dict(type='AutoEMAHook', update_buffers=True, **kwargs))
    runner = SimpleNamespace(
        model=nn.Linear(1, 1),
        max_iters=max_iters,
        max_epochs=max_iters // 10,
        train_dataloader=range(10),
        hooks=[hook],
    )
    hook.before_run(runner)
    hook.before_train(runner)
    return hook, runner


@pytest.mark.parametrize(
    ('iterations', 'kwargs', 'momentum'),
    [
        (1200, {}, 0.01),
        (30, {}, 0.4),
        (5, {}, 0.5),
        (1, {}, 0.5),
        (1200, dict(begin_iter=600), 0.02),
        (1200, dict(begin_epoch=60), 0.02),
        (1200, dict(interval=2), 0.02),
        (1200, dict(momentum=0.3), 0.3),
    ],
)
def test_momentum(iterations, kwargs, momentum):
    hook, _ = started(iterations, **kwargs)
    assert hook.ema_model.momentum == pytest.approx(momentum)


@pytest.mark.parametrize('iterations', [12, 50, 1000, 100_000])
def test_little_is_left_of_the_first_weights(iterations):
    hook, runner = started(iterations)
    assert (1 - hook.ema_model.momentum) ** iterations < 1e-3
    # So that the check has nothing to warn of.
    EMACheckHook(max_share=1e-3).before_train(runner)
