# SPDX-License-Identifier: Apache-2.0
"""What CheckedRunner's checks cost: per iteration, and per checkpoint."""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from common import ROOT, describe_environment, parse_args, quiet, write
from measure import spread
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import save_checkpoint

from mlcl_plugin.engine import CheckedRunner, set_default_dataloader_cfg, step_config
from mlcl_plugin.engine.counter_seeds import CounterSeedHook, set_seed
from mlcl_plugin.engine.hooks import (
    DurableCheckpointHook,
    EpochPositionHook,
    LoadedCheckpointHook,
    NonFiniteHook,
    PendingValidationHook,
)

SPEED, SIZE = 'configs/mlcl_efflite0_voc07.py', 'configs/mlcl_r101_coco.py'
DESCRIPTION = (
    'Iterations: step 1 of `mlcl_efflite0_voc07.py` with batches of 4 noise images, '
    "with MMEngine's `Runner` and with `CheckedRunner`, one short training after the "
    'other in one process. Time: processor time of an iteration with the loading of '
    'its images, since other work may run on the machine. Checkpoints: step 1 of '
    '`mlcl_r101_coco.py` with EMA and the state of the optimizer; "one write of '
    'torch.save" writes the same content to the same disk without fsync.'
)
OURS = (
    CounterSeedHook,
    DurableCheckpointHook,
    EpochPositionHook,
    LoadedCheckpointHook,
    NonFiniteHook,
    PendingValidationHook,
)
# Iterations before the times settle.
WARMUP = 2


class TimesHook(Hook):
    """Processor time at the start of each iteration, and within our hooks."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.within: list[float] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.starts.append(time.process_time())
        self.within.append(0.0)

    def watch(self, hook: Hook, method: str) -> None:
        """Measure a method of a hook."""
        call = getattr(hook, method)

        def timed(*args, **kwargs):
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.within[-1] += time.process_time() - start

        setattr(hook, method, timed)

    @property
    def seconds(self) -> list[float]:
        """Processor time of the iterations after the first ones."""
        return np.diff(self.starts)[WARMUP:].tolist()


def make_config(name: str, folder: Path, images: int, batch_size: int) -> Config:
    """Let step 1 of a recipe train on noise for one epoch."""
    cfg = Config.fromfile(ROOT / name)
    cfg.work_dir = str(folder / 'work')
    cfg = step_config(cfg, 'step1')
    labels = cfg.model.head.num_classes
    data = folder / f'data_{labels}'
    if not data.exists():
        make_images(data, images, labels)
    cfg.train_dataloader.update(batch_size=batch_size, num_workers=0)
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset = dict(
        type='TabularMultiLabel',
        data_root=str(data),
        ann_file='labels.csv',
        pipeline=pipeline,
    )
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.model.backbone.init_cfg = None
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
    cfg.default_hooks.logger.interval = 1000
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1000)
    cfg.default_hooks.checkpoint.update(save_last=False, save_best=None)
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'ERROR'
    set_default_dataloader_cfg(cfg)
    return cfg


def make_images(folder: Path, number: int, labels: int) -> None:
    """Write images of noise and a table with random labels."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = [','.join(['image', *(f'label{n}' for n in range(labels))])]
    for index in range(number):
        image = draw.integers(0, 256, (375, 500, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{index}.jpg'), cv2.blur(image, (9, 9)))
        present = (draw.random(labels) < 0.1).astype(int)
        rows.append(','.join([f'{index}.jpg', *map(str, present)]))
    (folder / 'labels.csv').write_text('\n'.join(rows) + '\n')


def train(kind: type[Runner], cfg: Config) -> TimesHook:
    """Train and measure."""
    runner, times = kind.from_cfg(cfg), TimesHook()
    for hook in runner.hooks:
        if isinstance(hook, OURS):
            for method in ('before_train_iter', 'after_train_iter', '_check_gradients'):
                if method in dir(hook):
                    times.watch(hook, method)
    runner.register_hook(times)
    # Of hooks with the same priority, the first.
    runner._hooks.remove(times)
    runner._hooks.insert(0, times)
    runner.train()
    return times


def compare_iterations(folder: Path, turns: int, iterations: int) -> tuple:
    """Measure iterations of both runners in turn.

    Returns:
        tuple: A comparison, and the seconds per iteration within our hooks.
    """
    cfg = make_config(SPEED, folder, 4 * iterations, 4)
    rivals = {"MMEngine's Runner": Runner, 'CheckedRunner': CheckedRunner}
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    means: dict[str, list[float]] = {name: [] for name in rivals}
    within = []
    for turn in range(turns):
        for name in list(rivals)[:: -1 if turn % 2 else 1]:
            times = train(rivals[name], cfg)
            seconds[name] += times.seconds
            means[name].append(float(np.median(times.seconds)))
            if rivals[name] is CheckedRunner:
                within += times.within[WARMUP:]
    base = "MMEngine's Runner"
    comparison = dict(
        title='iteration, batch of 4',
        base=base,
        items=4,
        unit='images',
        rivals={
            name: dict(
                seconds=seconds[name],
                ratio=spread([a / b for a, b in zip(means[name], means[base])]),
            )
            for name in rivals
        },
    )
    return comparison, within


def seed_seconds() -> float:
    """Processor time of the seeds of a sample."""
    start = time.process_time()
    for index in range(2000):
        set_seed(0, 1, 2, index)
    return (time.process_time() - start) / 2000


@contextmanager
def ready(kind: type[Runner], cfg: Config):
    """A runner in the middle of a training."""
    runner = kind.from_cfg(cfg)

    class Stop(Exception):
        pass

    class StopHook(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, *args, **kwargs):
            raise Stop

    runner.register_hook(StopHook())
    try:
        runner.train()
    except Stop:
        yield runner


def compare_checkpoints(folder: Path, turns: int, config: str) -> tuple:
    """Measure the ways to write a checkpoint, in turn.

    Returns:
        tuple: A row of a table per way, and the size of the file.
    """
    cfg = make_config(config, folder, 2, 2)
    out = folder / 'checkpoints'
    out.mkdir()
    results: dict[str, list[tuple[float, float]]] = {}
    with ready(CheckedRunner, cfg) as checked:
        hook = next(h for h in checked.hooks if isinstance(h, DurableCheckpointHook))

        def ours():
            hook._save_checkpoint_with_step(checked, 1, dict(epoch=0, iter=1))

        def mmengine():
            Runner.save_checkpoint(checked, str(out), 'mmengine.pth', by_epoch=False)

        hook.out_dir = str(out)
        ours()
        content = torch.load(out / 'epoch_1.pth', weights_only=False)
        ways = {
            'torch.save': lambda: torch.save(content, out / 'plain.pth'),
            "MMEngine's save_checkpoint of the same content": lambda: save_checkpoint(
                content, str(out / 'plain.pth')
            ),
            "MMEngine's Runner": mmengine,
            'CheckedRunner': ours,
        }
        for _ in range(turns):
            for name, way in ways.items():
                os.sync()
                cpu, wall = time.process_time(), time.perf_counter()
                way()
                pair = time.process_time() - cpu, time.perf_counter() - wall
                results.setdefault(name, []).append(pair)
        size = (out / 'epoch_1.pth').stat().st_size
    rows = [
        {
            '': name,
            'processor time (least)': f'{min(p[0] for p in pairs):.2f} s',
            'time (least)': f'{min(p[1] for p in pairs):.2f} s',
            'time (median)': f'{np.median([p[1] for p in pairs]):.2f} s',
        }
        for name, pairs in results.items()
    ]
    return rows, size


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args)
    environment = describe_environment()
    quiet()
    turns, iterations, saves = (1, 5, 1) if args.quick else (6, 12, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        comparison, within = compare_iterations(folder, turns, iterations)
        seeds = seed_seconds()
        config = SPEED if args.quick else SIZE
        rows, size = compare_checkpoints(folder, saves, config)
    base = float(np.median(comparison['rivals']["MMEngine's Runner"]['seconds']))
    hooks = float(np.median(within))
    both = hooks + 4 * seeds
    cost = [
        {
            '': 'hooks of CheckedRunner',
            'per iteration': f'{1e3 * hooks:.2f} ms',
        },
        {'': 'seeds of 4 samples', 'per iteration': f'{4e3 * seeds:.2f} ms'},
        {
            '': 'both',
            'per iteration': f'{100 * both / base:.2f} %',
        },
    ]
    title = 'Processor time within the checks (medians):'
    write(
        args,
        'checked_runner',
        'Checks of a training',
        DESCRIPTION,
        environment,
        [comparison],
        tables=[
            dict(title=title, rows=cost),
            dict(title=f'A checkpoint of {size / 1e6:.0f} MB:', rows=rows),
        ],
    )


if __name__ == '__main__':
    main()
