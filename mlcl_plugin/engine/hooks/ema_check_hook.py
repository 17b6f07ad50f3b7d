# SPDX-License-Identifier: Apache-2.0
"""Hold the average of the weights against the length of the training."""

import logging

from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import ExponentialMovingAverage
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class EMACheckHook(Hook):
    """Warn before a training whose averaged weights will not leave their start.

    An exponential moving average that takes in a share ``momentum`` of the weights in
    every update still holds ``(1 - momentum) ** n`` of the first ones after n updates.
    Validation, the best checkpoint and the next step's start all use the average, so
    that a momentum made for a long training spoils a short one without an error.

    Args:
        max_share (float): The largest share of the first weights, at the end of the
            training, that needs no warning. Defaults to 0.05.
    """

    def __init__(self, max_share: float = 0.05):
        self.max_share = max_share

    def before_train(self, runner) -> None:
        """Check every plain moving average that the runner's hooks keep."""
        for hook in runner.hooks:
            average = getattr(hook, 'ema_model', None)
            # other kinds adapt their momentum to the number of updates
            if isinstance(hook, EMAHook) and type(average) is ExponentialMovingAverage:
                begin = hook.begin_iter
                if hook.enabled_by_epoch:
                    begin = hook.begin_epoch * len(runner.train_dataloader)
                updates = max(runner.max_iters - begin, 1) / average.interval
                self._check(average.momentum, updates)

    def _check(self, momentum: float, updates: float) -> None:
        share = (1 - momentum) ** updates
        if share > self.max_share:
            print_log(
                f'EMAHook with momentum={momentum}: after the {updates:.0f} updates of '
                f'this training, {share:.0%} of the average that is validated and '
                'saved are still the weights of the first iteration. Set momentum in '
                'custom_hooks to about 12 / iterations, here '
                f'{min(12 / updates, 0.5):.1g}.',
                logger='current',
                level=logging.WARNING,
            )
