# SPDX-License-Identifier: Apache-2.0
"""Time the whole training loop of both steps, and profile it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import ROOT, describe_environment, parse_args, write
from measure import spread
from mmengine.config import Config

from mlcl_plugin.engine import step_config

CONFIG = 'configs/mlcl_efflite0_voc07.py'
DESCRIPTION = (
    '`tools/train.py configs/mlcl_efflite0_voc07.py` on the first images of VOC2007 '
    'train. Each run is a separate process, in turn. Time: seconds per iteration in '
    'the log, with the loading of images, over all but the first iterations of a '
    'step. "bfloat16" is `--amp`. The base is this checkout in float32 or, with '
    '`--baseline`, another checkout of this project.'
)
# Iterations before the times settle.
WARMUP = 4


def run_training(
    checkout: Path, images: int, options: Sequence[str], data_root: str
) -> dict[str, list[float]]:
    """Train both steps for one short epoch each, and read the log.

    Args:
        checkout (Path): The checkout whose tools and package are used.
        images (int): Number of training images.
        options (Sequence[str]): Further options of ``tools/train.py``.
        data_root (str): The folder of VOC2007.

    Returns:
        dict[str, list[float]]: For each step the seconds of its iterations.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, 'tools/train.py', CONFIG, '--work-dir', folder),
            *('--no-validate', *options, '--cfg-options'),
            f'train_dataloader.dataset.data_root={data_root}',
            f'train_dataloader.dataset.indices={images}',
            *('default_hooks.logger.interval=1', 'log_processor.window_size=1'),
            'default_hooks.checkpoint.save_best=None',
            *(f'steps.step{n}.train_cfg.max_epochs=1' for n in (1, 2)),
        ]
        environment = os.environ | dict(PYTHONPATH=str(checkout))
        call = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True
        )
        if call.returncode:
            raise RuntimeError(f'{command} failed:\n{call.stderr[-2000:]}')
        seconds = {}
        for step in ('step1', 'step2'):
            (log,) = Path(folder, step).glob('*/vis_data/scalars.json')
            lines = map(json.loads, log.read_text().splitlines())
            times = [line['time'] for line in lines if 'time' in line]
            seconds[step] = times[WARMUP:]
    return seconds


def compare_loops(
    rivals: dict[str, dict], images: int, repeats: int, data_root: str
) -> list[dict]:
    """Run the rivals in turn, and compare the seconds per iteration of each step."""
    runs = {name: [] for name in rivals}
    for turn in range(repeats):
        for name in list(rivals)[:: -1 if turn % 2 else 1]:
            runs[name].append(
                run_training(images=images, data_root=data_root, **rivals[name])
            )
    comparisons = []
    cfg = Config.fromfile(ROOT / CONFIG)
    batches = dict(
        step1=step_config(cfg, 'step1').train_dataloader.batch_size,
        step2=step_config(cfg, 'step2').train_dataloader.batch_size * 2,
    )
    for step, items in batches.items():
        means = {
            name: [sum(run[step]) / len(run[step]) for run in runs[name]]
            for name in rivals
        }
        base = next(iter(rivals))
        comparisons.append(
            dict(
                title=f'{step}, batch of {items} views',
                base=base,
                items=items,
                unit='views',
                rivals={
                    name: dict(
                        seconds=times,
                        ratio=spread([a / b for a, b in zip(times, means[base])]),
                    )
                    for name, times in means.items()
                },
            )
        )
    return comparisons


def profile_training(
    checkout: Path, options: Sequence[str], iterations: int, data_root: str
) -> dict[str, float]:
    """Profile an iteration of step 1 in a separate process.

    Args:
        checkout (Path): The checkout whose package and recipe are used.
        options (Sequence[str]): Options of ``tools/train.py``.
        iterations (int): Iterations to profile.
        data_root (str): The folder of VOC2007.

    Returns:
        dict[str, float]: Milliseconds by kind, see profile_steps.py.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'profile.json')
        script = str(ROOT / 'benchmarks/profile_steps.py')
        command = [sys.executable, script, CONFIG, data_root, str(out), *options]
        command += ['--iterations', str(iterations)]
        environment = os.environ | dict(PYTHONPATH=str(checkout))
        call = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True
        )
        if call.returncode:
            raise RuntimeError(f'{command} failed:\n{call.stderr[-2000:]}')
        return json.loads(out.read_text())


def profile_table(profiles: dict[str, dict[str, float]]) -> list[dict[str, str]]:
    """Write a row per kind of operator: milliseconds and share of each rival."""
    rows = []
    for kind in next(iter(profiles.values())):
        row = {'': kind}
        for name, times in profiles.items():
            share = 100 * times[kind] / sum(times.values())
            row[name] = f'{times[kind]:.0f} ms ({share:.0f} %)'
        rows.append(row)
    total = {name: f'{sum(t.values()):.0f} ms' for name, t in profiles.items()}
    return [*rows, {'': 'all operators'} | total]


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(
        __doc__,
        args,
        data_root=dict(default='data/VOCdevkit/VOC2007/', help='folder of VOC2007'),
        baseline=dict(type=Path, help='another checkout of this project to compare'),
    )
    environment = describe_environment()
    data_root = str(Path(args.data_root).resolve()) + '/'
    if not Path(data_root, 'ImageSets').is_dir():
        sys.exit(f'--data-root: {data_root} is not a folder of VOC2007 (no ImageSets).')
    images, repeats, iterations = (224, 1, 1) if args.quick else (480, 2, 4)
    rivals = {}
    if args.baseline:
        rivals['baseline, float32'] = dict(checkout=args.baseline.resolve(), options=[])
    rivals['float32'] = dict(checkout=ROOT, options=[])
    rivals['bfloat16'] = dict(checkout=ROOT, options=['--amp'])
    comparisons = compare_loops(rivals, images, repeats, data_root)
    profiles = {
        name: profile_training(iterations=iterations, data_root=data_root, **rival)
        for name, rival in rivals.items()
    }
    write(
        args,
        'training_loop',
        'Training loop, EfficientNet-Lite0 on VOC2007',
        DESCRIPTION,
        environment,
        comparisons,
        tables=[
            dict(
                title='Profile of an iteration of step 1 (torch.profiler, time in '
                'operators):',
                rows=profile_table(profiles),
            )
        ],
    )


if __name__ == '__main__':
    main()
