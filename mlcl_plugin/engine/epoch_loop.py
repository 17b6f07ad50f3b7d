# SPDX-License-Identifier: Apache-2.0
"""MMEngine's epoch-based loop, which can go on inside an epoch."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import Sampler

from .dataloader import with_order


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """Epoch-based loop that goes on with the next batch after a resume.

    MMEngine's loop starts an epoch again when it resumes from a checkpoint that was
    saved inside of it, and trains on its first batches twice. :class:`CheckedRunner`
    uses this loop for a config's ``EpochBasedTrainLoop``, and
    :class:`EpochPositionHook` tells it where it stopped. All arguments are those of
    :class:`mmengine.runner.EpochBasedTrainLoop`.
    """

    batches_done = 0
    """Batches of the current epoch that have been trained."""

    def position(self, epoch: int, iteration: int) -> int:
        """Count the batches that a checkpoint has trained of an unfinished epoch.

        Args:
            epoch (int): Epochs that it has finished.
            iteration (int): Iterations that it has finished.

        Returns:
            int: Batches of the next epoch that it has finished.
        """
        # A checkpoint of a finished epoch is saved before the loop counts the epoch,
        # one of an iteration before the loop counts the iteration.
        return 0 if epoch > self.epoch else self.batches_done + iteration - self.iter

    def run_epoch(self) -> None:
        """Train the batches of an epoch that have not been trained."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for data_batch in self._rest():
            self.run_iter(self.batches_done, data_batch)
            self.batches_done += 1
        self.runner.call_hook('after_train_epoch')
        self.batches_done = 0
        self._epoch += 1

    def _rest(self) -> Iterator[Any]:
        loader, done = self.dataloader, self.batches_done
        if done == 0:
            return iter(loader)
        if done >= len(loader):
            return iter(())
        # A loader of its own, since the order of a loader cannot be changed.
        if loader.batch_sampler is None:
            rest = dict(batch_size=None, sampler=_Rest(loader.sampler, done))
        else:
            rest = dict(batch_sampler=_Rest(loader.batch_sampler, done))
        return iter(with_order(loader, **rest))


class _Rest(Sampler):
    """An order without its first items.

    Args:
        order (Iterable): Indices or batches of indices.
        done (int): The number of items to leave out.
    """

    def __init__(self, order: Iterable, done: int) -> None:
        self.order = order
        self.done = done

    def __iter__(self) -> Iterator:
        return islice(self.order, self.done, None)
