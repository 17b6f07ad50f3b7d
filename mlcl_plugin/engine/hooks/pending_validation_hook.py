# SPDX-License-Identifier: Apache-2.0
"""Validate where a run was cut off before or in a validation."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from .durable_checkpoint_hook import VALIDATED


@HOOKS.register_module()
class PendingValidationHook(Hook):
    """Validate a resumed model first, if the run was cut off before that.

    A checkpoint is saved at the end of an epoch, before the validation. MMEngine goes
    on with the next epoch, so that this validation is never made: its metrics are
    missing, and the checkpoint cannot become the best one.

    :class:`CheckedRunner` registers it.
    """

    # After the other hooks are ready.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Validate, if the loop would have done so and the checkpoint does not know."""
        loop = runner.train_loop
        if (
            not runner._resume
            or runner.val_loop is None
            or not isinstance(loop, EpochBasedTrainLoop)
            or loop.epoch == 0
        ):
            return
        loop._decide_current_val_interval()
        due = loop.epoch >= loop.val_begin and (
            loop.epoch % loop.val_interval == 0 or loop.epoch == loop.max_epochs
        )
        if due and runner.message_hub.runtime_info.get(VALIDATED) != loop.epoch:
            runner.val_loop.run()
