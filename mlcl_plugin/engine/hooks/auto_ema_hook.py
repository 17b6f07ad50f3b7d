# SPDX-License-Identifier: Apache-2.0
"""An average of the weights that fits the length of the training."""

from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmpretrain.registry import HOOKS

MEMORY = 12
"""The share of the first weights at the end is about exp(-12), unless capped."""
MOST = 0.5


@HOOKS.register_module()
class AutoEMAHook(EMAHook):
    """Average the weights with a momentum that follows from the number of iterations.

    The momentum is ``12 / iterations``, at most 0.5: the average reaches over about a
    twelfth of the training, whatever its length, and nothing is left of the first
    weights.

    Args:
        momentum (float, optional): A momentum that is used instead. Defaults to None.
        **kwargs: Those of :class:`mmengine.hooks.EMAHook`, such as ``update_buffers``.
    """

    def __init__(self, momentum: float | None = None, **kwargs):
        self.is_automatic = momentum is None
        if momentum is not None:
            kwargs['momentum'] = momentum
        super().__init__(**kwargs)

    def before_train(self, runner) -> None:
        """Set the momentum."""
        super().before_train(runner)
        if not self.is_automatic:
            return
        begin = self.begin_iter
        if self.enabled_by_epoch:
            begin = self.begin_epoch * len(runner.train_dataloader)
        updates = max(runner.max_iters - begin, 1) / self.ema_model.interval
        momentum = min(MEMORY / updates, MOST)
        self.ema_model.momentum = momentum
        print_log(
            f'The average of the weights has a momentum of {momentum:.3g} over '
            f'{updates:.0f} updates.',
            'current',
        )
