# SPDX-License-Identifier: Apache-2.0
"""Store in checkpoints how far in an epoch they are."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...errors import CheckpointError
from ..epoch_loop import ResumableEpochLoop

DONE, WHOLE = 'batches_done', 'batches'
"""Keys in ``meta``: batches of the epoch that are trained, and all of the epoch."""


@HOOKS.register_module()
class EpochPositionHook(Hook):
    """Let a run that resumes inside an epoch go on with the next batch.

    If the number of batches of an epoch has changed, with the batch size, the number of
    processes or the data, the epoch starts again, with a warning. From a checkpoint
    that does not say where it is, it starts again as in MMEngine.

    :class:`CheckedRunner` registers it. It has no effect on loops other than
    :class:`ResumableEpochLoop`.

    Raises:
        CheckpointError: When a run resumes, if a checkpoint states an impossible
            position.
    """

    # Before hooks that may fail.
    priority = 'VERY_HIGH'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the position of the loop."""
        loop, meta = runner.train_loop, checkpoint['meta']
        if isinstance(loop, ResumableEpochLoop):
            meta[DONE] = loop.position(meta['epoch'], meta['iter'])
            meta[WHOLE] = len(loop.dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Tell the loop where to go on."""
        if not runner._resume or not isinstance(runner.train_loop, ResumableEpochLoop):
            return
        loop, meta = runner.train_loop, checkpoint['meta']
        done, whole = meta.get(DONE, 0), meta.get(WHOLE, len(loop.dataloader))
        numbers = all(type(value) is int for value in (done, whole))
        if not numbers or not 0 <= done <= whole:
            raise CheckpointError(
                f'{runner._load_from} cannot be resumed from: expected the number of '
                f'batches that it has trained of an epoch, got {done!r:.100} of '
                f'{whole!r:.100}.'
            )
        loop.batches_done = 0
        if done == 0:
            return
        if whole != len(loop.dataloader):
            print_log(
                f'{runner._load_from} was saved after {done} of the {whole} batches '
                f'of an epoch, which has {len(loop.dataloader)} batches now. The epoch '
                'starts again.',
                'current',
                logging.WARNING,
            )
            return
        loop.batches_done = done
