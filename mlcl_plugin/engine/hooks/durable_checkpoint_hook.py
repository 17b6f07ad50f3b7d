# SPDX-License-Identifier: Apache-2.0
"""MMEngine's checkpoint hook, which always leaves a complete checkpoint."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import BaseStorageBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..durable_files import PART
from ..pointers import LAST, write_pointer


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """Checkpoint hook that removes a checkpoint only after the next one is complete.

    MMEngine's hook removes the oldest checkpoint first, also with
    ``max_keep_ckpts=1``, so that a crash in the next write leaves none. Here the order
    is: write the new checkpoint, let ``last_checkpoint`` name it, remove the old one.

    :class:`CheckedRunner` uses this hook for a config's ``CheckpointHook`` and writes
    each checkpoint to a temporary file first. All arguments are those of
    :class:`mmengine.hooks.CheckpointHook`.
    """

    # MMEngine sets it in before_train.
    file_backend: Any

    def before_train(self, runner: Runner) -> None:
        """Remove what writes that were cut off have left."""
        super().before_train(runner)
        if is_main_process() and Path(self.out_dir).is_dir():
            for part in Path(self.out_dir).glob(f'*.pth{PART}'):
                part.unlink(missing_ok=True)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = None
        ids = self.keep_ckpt_ids if self.max_keep_ckpts > 0 else None
        # Saved twice in an epoch where the second one has a new best score.
        if ids is not None and not (ids and ids[-1] == step):
            if len(ids) == self.max_keep_ckpts:
                outdated = self._path(ids.popleft())
            ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(ids))
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
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
            if outdated is not None:
                _remove(self.file_backend, outdated)

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

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(
            self.out_dir, self.filename_tmpl.format(step)
        )


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


def _remove(backend: BaseStorageBackend, path: str) -> None:
    if backend.isfile(path):
        backend.remove(path)
    # DeepSpeed saves folders.
    elif backend.isdir(path):
        backend.rmtree(path)
