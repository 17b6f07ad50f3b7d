# SPDX-License-Identifier: Apache-2.0
"""Train one run in a process of its own, resume it, and read what it left.

The folder of a run holds its checkpoints, ``records.jsonl`` with the cost of each epoch
and the metrics of each validation, ``embeddings.json`` where embeddings are measured,
``neighbours.json`` where neighbours are, and ``log.txt``.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from neighbour_scores import measure_neighbours

from mlcl_plugin.apis import build_loader, build_model, embed, measure_embeddings
from mlcl_plugin.engine import (
    CheckedRunner,
    build_runner,
    keep_memory,
    step_changes,
    step_config,
    step_names,
)
from mlcl_plugin.engine.pointers import FINISHED, LAST, read_pointer

RECORDS = 'records.jsonl'
EMBEDDINGS = 'embeddings.json'
NEIGHBOURS = 'neighbours.json'


@HOOKS.register_module()
class MethodRecordHook(Hook):
    """Write the cost of each epoch and the metrics of each validation to a file.

    Args:
        path (str): The file, in JSON Lines.
        step (str): Name of the training step.
        num_views (int): Views of an image in a batch.
    """

    # Before the checkpoint of an epoch, so that no checkpoint lacks its record.
    priority = 'LOW'

    def __init__(self, path: str, step: str, num_views: int):
        self.path, self.step, self.num_views = path, step, num_views

    def before_train_epoch(self, runner) -> None:
        self.images, self.start = 0, time.perf_counter()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.images += self.num_views * len(data_batch['data_samples'])

    def after_train_epoch(self, runner) -> None:
        seconds = time.perf_counter() - self.start
        self._write(runner.epoch + 1, images=self.images, seconds=seconds)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._write(runner.epoch, metrics=metrics)

    def _write(self, epoch: int, **values) -> None:
        with open(self.path, 'a') as file:
            line = json.dumps(dict(step=self.step, epoch=epoch, **values))
            file.write(f'{line}\n')


def add_record_hooks(cfg: Config, folder: Path) -> None:
    """Let each step of a config record its cost and its metrics.

    Args:
        cfg (Config): The config of a run, which is changed.
        folder (Path): The folder of the run.
    """

    def hooks(merged: Config, step: str) -> list:
        views = merged.get('data_preprocessor', {}).get('num_views') or 1
        record = dict(
            type='MethodRecordHook',
            path=str(folder / RECORDS),
            step=step,
            num_views=views,
        )
        return [*(merged.get('custom_hooks') or []), record]

    names = step_names(cfg)
    for name in names:
        step_changes(cfg, name).custom_hooks = hooks(step_config(cfg, name), name)
    if not names:
        cfg.custom_hooks = hooks(cfg, 'train')


def train(
    cfg: Config,
    threads: int,
    folder: Path,
    embeddings: dict | None,
    neighbours: bool = False,
) -> None:
    """Complete a run in this process, which writes to the log of the run and then ends.

    Args:
        cfg (Config): The config of the run.
        threads (int): Number of threads.
        folder (Path): The folder of the run.
        embeddings (dict, optional): See :func:`complete`.
        neighbours (bool): See :func:`complete`. Defaults to False.
    """
    with open(folder / 'log.txt', 'a') as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    try:
        torch.set_num_threads(threads)
        keep_memory()
        complete(cfg, folder, embeddings, neighbours)
    except BaseException:
        traceback.print_exc()
        raise


def complete(
    cfg: Config, folder: Path, embeddings: dict | None, neighbours: bool = False
) -> None:
    """Do what is left of a run.

    That is training, validation of the last state, the measures of the embeddings, and
    what neighbours add.

    Args:
        cfg (Config): The config of the run, with steps or without.
        folder (Path): The folder of the run.
        embeddings (dict, optional): Options of ``measure_embeddings``. None does not
            measure embeddings.
        neighbours (bool): Whether to measure what neighbours add. Defaults to False.
    """
    if not is_trained(cfg, folder):
        build_runner(cfg).train()
    if step_names(cfg):
        cfg = step_config(cfg, step_names(cfg)[-1])
    if read_records(folder) is None:
        # It was interrupted between the last checkpoint and the end of validation.
        cfg.load_from, cfg.resume = last_checkpoint(folder), False
        CheckedRunner.from_cfg(cfg).val()
    if embeddings and read_embeddings(folder, embeddings) is None:
        model = build_model(cfg, last_checkpoint(folder))
        loader, _ = build_loader(cfg, 'val', num_images=5000)
        values, _ = measure_embeddings(
            embed(model, loader, projected=False), **embeddings
        )
        part = folder / f'{EMBEDDINGS}.part'
        part.write_text(json.dumps(dict(options=embeddings, values=values)))
        os.replace(part, folder / EMBEDDINGS)
    if neighbours and read_neighbours(folder) is None:
        scores = measure_neighbours(cfg, last_checkpoint(folder))
        part = folder / f'{NEIGHBOURS}.part'
        part.write_text(json.dumps(scores))
        os.replace(part, folder / NEIGHBOURS)


def is_complete(
    cfg: Config, folder: Path, embeddings: dict | None, neighbours: bool = False
) -> bool:
    """Whether :func:`complete` would find nothing to do."""
    return (
        is_trained(cfg, folder)
        and read_records(folder) is not None
        and (not embeddings or read_embeddings(folder, embeddings) is not None)
        and (not neighbours or read_neighbours(folder) is not None)
    )


def is_trained(cfg: Config, folder: Path) -> bool:
    """Whether all steps of a run are finished."""
    names = step_names(cfg)
    if names:
        return (folder / names[-1] / FINISHED).exists()
    last = last_checkpoint(folder)
    return last is not None and Path(last).name == (
        f'epoch_{cfg.train_cfg.max_epochs}.pth'
    )


def last_checkpoint(folder: Path) -> str | None:
    """Find the last checkpoint of a run; None if it is gone."""
    # Each step has its own.
    pointers = sorted(folder.rglob(LAST), key=os.path.getmtime)
    path = read_pointer(str(pointers[-1].parent), LAST) if pointers else None
    return path if path is not None and os.path.isfile(path) else None


def read_embeddings(folder: Path, options: dict) -> dict | None:
    """Read the measures of a run's embeddings; None unless measured by these options.

    Args:
        folder (Path): The folder of the run.
        options (dict): Options of ``measure_embeddings``.

    Returns:
        dict | None: The values by their name.
    """
    if not (folder / EMBEDDINGS).exists():
        return None
    content = json.loads((folder / EMBEDDINGS).read_text())
    return content.get('values') if content['options'] == options else None


def read_neighbours(folder: Path) -> dict[str, float] | None:
    """Read the mAP of each blend with neighbours; None if it was not measured."""
    path = folder / NEIGHBOURS
    return json.loads(path.read_text()) if path.exists() else None


def read_records(folder: Path) -> dict | None:
    """Summarise the records of a run. The last record of an epoch counts.

    Args:
        folder (Path): The folder of the run.

    Returns:
        dict | None: ``metrics`` of the last epoch, ``images`` and ``seconds`` of all
        epochs, and ``mAP`` of each validated epoch. None if the last epoch was not
        validated.
    """
    epochs: dict[tuple, dict] = {}
    for line in (folder / RECORDS).read_text().splitlines():
        record = json.loads(line)
        key = record.pop('step'), record.pop('epoch')
        epochs.setdefault(key, {}).update(record)
    validated = {key: values for key, values in epochs.items() if 'metrics' in values}
    if list(epochs)[-1] not in validated:
        return None
    return dict(
        metrics=epochs[list(epochs)[-1]]['metrics'],
        images=sum(values.get('images', 0) for values in epochs.values()),
        seconds=sum(values.get('seconds', 0) for values in epochs.values()),
        mAP={
            f'{step}/{epoch}': values['metrics']['multi-label/mAP']
            for (step, epoch), values in validated.items()
        },
    )
