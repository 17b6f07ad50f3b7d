# SPDX-License-Identifier: Apache-2.0
"""Check the momentum of averaged weights against the length of the training."""

import logging

from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import ExponentialMovingAverage
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class EMACheckHook(Hook):
    """Warn if the averaged weights of a training will stay near their start.

    An exponential moving average with ``momentum`` still contains a share of
    ``(1 - momentum) ** n`` of the first weights after n updates. Validation, the best
    checkpoint and the start of the next step use the average, so a momentum chosen for
    a long training spoils a short one without an error.

    Args:
        max_share (float): Warn if the share of the first weights at the end of the
            training is larger. Defaults to 0.05.
    """

    def __init__(self, max_share: float = 0.05):
        self.max_share = max_share

    def before_train(self, runner) -> None:
        """Check every plain moving average that the runner's hooks keep."""
        for hook in runner.hooks:
            if not isinstance(hook, EMAHook):
                continue
            average = hook.ema_model
            # Subclasses adapt their momentum to the number of updates.
            if type(average) is ExponentialMovingAverage:
                begin = hook.begin_iter
                if hook.enabled_by_epoch:
                    begin = hook.begin_epoch * len(runner.train_dataloader)
                updates = max(runner.max_iters - begin, 1) / average.interval
                self._check(average.momentum, updates)

    def _check(self, momentum: float, updates: float) -> None:
        share = (1 - momentum) ** updates
        if share > self.max_share:
            advice = min(12 / updates, 0.5)
            mend = (
                'Set momentum in custom_hooks to about 12 / iterations, here '
                f'{advice:.1g}'
            )
            if momentum >= advice:
                mend = 'Train for more iterations, or without EMAHook'
            print_log(
                f'EMAHook with momentum={momentum}: after the {updates:.0f} updates of '
                f'this training, {share:.0%} of the average that is validated and '
                f'saved are still the weights of the first iteration. {mend}.',
                logger='current',
                level=logging.WARNING,
            )
