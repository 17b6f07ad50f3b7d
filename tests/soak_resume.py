# SPDX-License-Identifier: Apache-2.0
"""Kill a training at random moments, resume it, and compare it with an undisturbed one.

    python tests/soak_resume.py --kills 30 --workers 2
    python tests/soak_resume.py --kills 10 --processes 2

A small model trains two steps with EMA, a memory of embeddings, random augmentations
and dropout. Its processes get SIGKILL, and the same command starts again. At the end
all checkpoints, optimizer states and logged values must be equal bit for bit. Prints
one line per kill and the result, and exits with 1 if anything differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from mlcl_plugin.engine.safe_checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
_base_ = [{base!r}]
crop = dict(type='RandomResizedCrop', scale=32)
pipeline = [dict(type='LoadImage'), dict(type='LabelsToTargets', num_classes=3)]
pack = dict(type='PackInputs')
views = dict(type='MultiView', num_views=[2], transforms=[[crop]])
data = dict(
    type='TabularMultiLabel', data_root={root!r}, ann_file='labels.csv',
    data_prefix='images')
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet', depth=18, stem_channels=8, base_channels=8, num_stages=2,
        strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
    neck=dict(
        type='LabelQueryDecoder', num_classes=3, in_channels=16, embed_dims=16,
        num_heads=2, dropout=0.1),
    head=dict(type='LabelWiseClsHead', num_classes=3, in_channels=16))
data_preprocessor = dict(
    type='MultiViewDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True)
train_dataloader = dict(
    batch_size=4, num_workers={workers},
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**data, split='train', pipeline=[*pipeline, crop, pack]))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**data, split='val', pipeline=[*pipeline, pack]))
val_evaluator = dict(type='MultiLabelRecognitionMetric')
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.003))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max={epochs})]
train_cfg = dict(by_epoch=True, max_epochs={epochs})
val_cfg = dict()
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=1))
custom_hooks = [
    dict(type='EMAHook', momentum=0.05, update_buffers=True, priority='ABOVE_NORMAL')]
randomness = dict(seed={seed})
runner_type = 'mmpretrain.StepwiseRunner'
steps = dict(
    step1=dict(),
    step2=dict(
        data_preprocessor=dict(num_views=2),
        model=dict(head=dict(
            loss_contrastive=dict(
                type='LabelWiseContrastiveLoss',
                memory=dict(type='EmbeddingMemory', size=16, embed_dims=8)),
            projector=dict(hidden_channels=16, out_channels=8))),
        train_dataloader=dict(
            dataset=dict(pipeline=[*pipeline, views, pack])),
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type='SGD', lr=0.02, momentum=0.9))))
"""


def make_images(root: Path, number: int) -> None:
    """Write noisy images, each label a bright corner of one colour, and their table."""
    rng = np.random.default_rng(0)
    (root / 'images').mkdir(parents=True)
    rows = ['image,split,a,b,c']
    for index in range(number):
        labels = rng.random(3) < 0.4
        image = rng.integers(0, 90, (40, 40, 3), dtype=np.uint8)
        for label in np.flatnonzero(labels):
            y, x = divmod(int(label), 2)
            image[20 * y : 20 * y + 20, 20 * x : 20 * x + 20, label] += 120
        cv2.imwrite(str(root / f'images/{index}.png'), image)
        split = 'val' if index % 5 == 0 else 'train'
        rows.append(f'{index}.png,{split},' + ','.join(str(int(x)) for x in labels))
    (root / 'labels.csv').write_text('\n'.join(rows) + '\n')


def command(config: Path, work_dir: Path, processes: int) -> list[str]:
    """Make the command that starts, and starts again."""
    options = [str(config), '--work-dir', str(work_dir), '--resume']
    if processes == 1:
        return [sys.executable, str(ROOT / 'tools/train.py'), *options]
    start = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    start += [f'--nproc_per_node={processes}', str(ROOT / 'tools/train.py')]
    return [*start, *options, '--launcher', 'pytorch']


def run(call: list[str], log: Path, kill_after: float | None, work_dir: Path) -> bool:
    """Run a training, and kill it some seconds after it has begun to train.

    Returns:
        bool: Whether it came to its end.
    """
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    before = len(list(work_dir.glob('*/*/*.log')))
    with log.open('ab') as file:
        process = subprocess.Popen(
            call, stdout=file, stderr=file, env=environment, start_new_session=True
        )
        started = None
        while process.poll() is None:
            if kill_after is not None:
                if started is None and len(list(work_dir.glob('*/*/*.log'))) > before:
                    started = time.monotonic()
                if started is not None and time.monotonic() - started > kill_after:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return False
            time.sleep(0.02)
    if process.returncode:
        sys.exit(f'The training failed, see {log}:\n{log.read_text()[-3000:]}')
    return True


def last_values(step: Path) -> dict[int, dict]:
    """Logged values of a step by training iteration; of repeated ones the last."""
    values = {}
    for file in sorted(step.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                # The line that was being written when the process was killed.
                continue
            kind = 'val' if 'step' in row and 'loss' not in row else 'train'
            dropped = ('time', 'data_time', 'memory')
            values[kind, row['step']] = {
                k: v for k, v in row.items() if k not in dropped
            }
    return values


def differences(first: object, second: object, name: str = '') -> list[str]:
    """Names of what is not equal bit for bit."""
    if type(first) is not type(second):
        return [f'{name}: {type(first)} and {type(second)}']
    if isinstance(first, dict):
        if set(first) != set(second):
            return [f'{name}: keys {set(first) ^ set(second)}']
        return [
            d for k in first for d in differences(first[k], second[k], f'{name}.{k}')
        ]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [f'{name}: lengths {len(first)} and {len(second)}']
        pairs = enumerate(zip(first, second))
        return [d for i, (a, b) in pairs for d in differences(a, b, f'{name}[{i}]')]
    if isinstance(first, torch.Tensor):
        return [] if first.equal(second) else [name]
    return [] if first == second else [f'{name}: {first!r} and {second!r}']


def compare(whole: Path, resumed: Path) -> list[str]:
    """Compare the steps of two work folders."""
    found = []
    for step in ('step1', 'step2'):
        names = [
            sorted(p.name for p in d.glob('*.pth*'))
            for d in (whole / step, resumed / step)
        ]
        if names[0] != names[1]:
            found.append(f'{step}: files {names[0]} and {names[1]}')
        for name in set(names[0]) & set(names[1]):
            contents = [read_checkpoint(d / step / name) for d in (whole, resumed)]
            for part in (
                'state_dict',
                'ema_state_dict',
                'optimizer',
                'param_schedulers',
            ):
                if part in contents[0]:
                    found += differences(
                        *(c[part] for c in contents), f'{step}/{name} {part}'
                    )
        values = [last_values(d / step) for d in (whole, resumed)]
        found += differences(*values, f'{step} logged')
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--images', type=int, default=150)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--longest', type=float, default=4.0, help='seconds of a life')
    parser.add_argument('--keep', type=Path, help='keep the folders here')
    args = parser.parse_args()
    draw = random.Random(args.seed)
    folder = args.keep or Path(tempfile.mkdtemp(prefix='soak_'))
    make_images(folder / 'data', args.images)
    config = folder / 'soak.py'
    config.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/_base_/default_runtime.py'),
            root=str(folder / 'data'),
            workers=args.workers,
            epochs=args.epochs,
            seed=args.seed,
        )
    )
    whole = folder / 'whole'
    start = time.monotonic()
    run(command(config, whole, args.processes), folder / 'whole.log', None, whole)
    print(f'undisturbed: {time.monotonic() - start:.0f} s', flush=True)
    kills, rounds = 0, 0
    while kills < args.kills:
        rounds += 1
        target = folder / f'resumed{rounds}'
        call = command(config, target, args.processes)
        ended = False
        while not ended:
            after = draw.uniform(0, args.longest) if kills < args.kills else None
            ended = run(call, folder / 'resumed.log', after, target)
            if not ended:
                kills += 1
                print(f'kill {kills}, run {rounds}: {after:.2f} s', flush=True)
        found = compare(whole, target)
        if found:
            print('\n'.join(found[:20]))
            print(f'{len(found)} differences after {kills} kills; see {folder}')
            return 1
    print(f'equal bit for bit: {rounds} runs, {kills} kills')
    if args.keep is None:
        shutil.rmtree(folder)
    return 0


if __name__ == '__main__':
    sys.exit(main())
