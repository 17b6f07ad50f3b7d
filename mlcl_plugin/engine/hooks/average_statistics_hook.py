# SPDX-License-Identifier: Apache-2.0
"""Let all processes predict with the same statistics of batch norm."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..batch_statistics import average_statistics_of


@HOOKS.register_module()
class AverageStatisticsHook(Hook):
    """Average the statistics of batch norm over processes before they predict.

    Without it each process validates its part of the images as another model, and none
    of them is the one of the checkpoint, see :func:`average_statistics`.
    :class:`DurableCheckpointHook` does the same before a checkpoint. MMEngine's
    ``SyncBuffersHook`` leaves out EMA models and checkpoints inside an epoch, and
    averages integers.

    :class:`CheckedRunner` registers it. It has no effect on a single process.
    """

    # Before hooks that use the model.
    priority = 'VERY_HIGH'

    def before_val_epoch(self, runner: Runner) -> None:
        """Average before a validation."""
        average_statistics_of(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        """Average before a test."""
        average_statistics_of(runner)
