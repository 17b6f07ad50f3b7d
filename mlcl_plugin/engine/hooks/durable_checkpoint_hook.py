# SPDX-License-Identifier: Apache-2.0
"""MMEngine's checkpoint hook, which always leaves a complete checkpoint."""

import os.path as osp
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import BaseStorageBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..batch_statistics import average_statistics_of
from ..checkpoint_content import flatten, non_finite, to_plain
from ..durable_files import remove_parts
from ..pointers import LAST, write_pointer
from ..unwrap import unwrap_model

OUTDATED = 'outdated_checkpoints'
"""Names, in the message hub, of what is removed once a checkpoint is complete."""
VALIDATED = 'validated_epoch'
"""The epoch, in the message hub, after which the model was last validated."""
MAX_NAMED = 5


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """Checkpoint hook that removes a checkpoint only after the next one is complete.

    MMEngine's hook removes the oldest checkpoint first, also with
    ``max_keep_ckpts=1``, so that a crash in the next write leaves none. Here the order
    is: write the new checkpoint, let ``last_checkpoint`` name it, remove the old one.
    With several processes, the statistics of batch norm are averaged over them first,
    so that all processes are the saved model (:func:`average_statistics`).

    :class:`CheckedRunner` uses this hook for a config's ``CheckpointHook`` and writes
    each checkpoint to a temporary file first. All arguments are those of
    :class:`mmengine.hooks.CheckpointHook`.
    """

    # MMEngine sets it in before_train.
    file_backend: Any
    _never_finite: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Remove what a run that was cut off in a save has left."""
        super().before_train(runner)
        if runner._resume:
            # A validation that is made up for may still change it.
            self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')
        # Some models have masks of -inf.
        self._never_finite = non_finite(unwrap_model(runner.model).state_dict())
        if is_main_process():
            if Path(self.out_dir).is_dir():
                remove_parts(self.out_dir, f'*{Path(self.filename_tmpl).suffix}')
            remove_parts(runner.work_dir, f'{LAST}.*')
            for name in runner.message_hub.runtime_info.get(OUTDATED, []):
                _remove(self.file_backend, self._path(name))

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Save the best checkpoint, and note that this epoch is validated."""
        runner.message_hub.update_info(VALIDATED, runner.epoch)
        super().after_val_epoch(runner, metrics or {})

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse a checkpoint that is not finite, and keep only plain types in it.

        Raises:
            FloatingPointError: If a weight, its average, or the state of the optimizer
                is nan or infinite.
        """
        bad = non_finite(checkpoint['state_dict'])
        average = non_finite(checkpoint.get('ema_state_dict') or {})
        bad |= {name.removeprefix('module.') for name in average}
        bad -= self._never_finite
        if non_finite(flatten('', checkpoint.get('optimizer'))):
            bad.add('the state of the optimizer')
        _stop_if(bad, checkpoint['meta']['iter'])
        meta = checkpoint['meta']
        # The classes of a config's dicts are refused by readers.
        meta['dataset_meta'] = to_plain(meta.get('dataset_meta'))
        info = checkpoint['message_hub']['runtime_info']
        for key, value in info.items():
            info[key] = to_plain(value)
        for state in _states(checkpoint.get('param_schedulers')):
            # OneCycleLR keeps a method, which readers refuse. It is made anew.
            for key in [key for key, value in state.items() if callable(value)]:
                del state[key]

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        average_statistics_of(runner)
        # All processes, so that they stop together.
        found = non_finite(unwrap_model(runner.model).state_dict())
        _stop_if(found - self._never_finite, meta['iter'])
        outdated: list[str] = []
        if isinstance(self.file_backend, _LateRemoval):
            outdated += map(osp.basename, self.file_backend.outdated)
        ids = self.keep_ckpt_ids if self.max_keep_ckpts > 0 else None
        # Saved twice in an epoch where the second one has a new best score.
        if ids is not None and not (ids and ids[-1] == step):
            if len(ids) == self.max_keep_ckpts:
                outdated.append(self.filename_tmpl.format(ids.popleft()))
            ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self._path(name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        # If the run is cut off before they are removed, the next one does it.
        runner.message_hub.update_info(OUTDATED, outdated)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_pointer(runner.work_dir, LAST, self.last_ckpt)
            for old in outdated:
                _remove(self.file_backend, self._path(old))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        backend = self.file_backend
        late = _LateRemoval(backend)
        self.file_backend = late
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        single = len(self.key_indicators) == 1
        best = [self.best_ckpt_path] if single else self.best_ckpt_path_dict.values()
        for path in late.outdated:
            if path not in best:
                _remove(backend, path)

    def _path(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)


class _LateRemoval:
    """A storage backend that notes what to remove."""

    def __init__(self, backend: BaseStorageBackend):
        self.backend = backend
        self.outdated: list[str] = []
        self.isfile = backend.isfile
        self.isdir = backend.isdir
        self.join_path = backend.join_path

    def remove(self, path: str) -> None:
        self.outdated.append(path)

    rmtree = remove


def _states(schedulers: dict[str, list[dict]] | list[dict] | None) -> Iterable[dict]:
    """States of schedulers; of several optimizers by their names."""
    if isinstance(schedulers, dict):
        return chain.from_iterable(schedulers.values())
    return schedulers or []


def _remove(backend: BaseStorageBackend, path: str) -> None:
    if backend.isfile(path):
        backend.remove(path)
    # DeepSpeed saves folders.
    elif backend.isdir(path):
        backend.rmtree(path)


def _stop_if(bad: set[str], iteration: int) -> None:
    if bad:
        more = len(bad) - MAX_NAMED
        raise FloatingPointError(
            f'Not finite after iteration {iteration}: '
            f'{", ".join(sorted(bad)[:MAX_NAMED])}'
            + (f' and {more} more' if more > 0 else '')
            + '. The checkpoint is not saved, and the last one is intact. Lower the '
            'learning rate or clip gradients (optim_wrapper.clip_grad).'
        )
