# SPDX-License-Identifier: Apache-2.0
"""Images per second of the whole training loop, both steps, and a profile of it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from common import ROOT, describe_environment, parse_args, quiet, write
from measure import spread
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.profiler import ProfilerActivity, profile

from mlcl_plugin.engine import enable_amp, set_default_dataloader_cfg

CONFIG = 'configs/mlcl_efflite0_voc07.py'
DESCRIPTION = (
    '`tools/train.py configs/mlcl_efflite0_voc07.py` on the first images of VOC2007 '
    'train, each run a process of its own, in turn: seconds of an iteration in the '
    'log, loading of images included, over all but the first iterations of a step. '
    '"bfloat16" is `--amp`. The base is this checkout in float32, or, with '
    '`--baseline`, another checkout of this project.'
)
# Iterations before the times settle.
WARMUP = 4
#: What the time goes to, by a part of the operator's name, the first that fits.
KINDS = {
    'convolution': ('convolution', 'mkldnn_conv'),
    'batch norm': ('batch_norm',),
    'matrix products': ('mm', 'linear', 'einsum', 'attention'),
    'copies and casts': ('copy_', '_to_copy', 'contiguous', 'clone'),
    'optimizer': ('addcdiv', 'addcmul', 'lerp', '_foreach', 'sqrt'),
    'element by element': ('',),
}


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
    """Run the rivals in turn, and compare the seconds of an image, by step."""
    runs = {name: [] for name in rivals}
    for turn in range(repeats):
        for name in list(rivals)[:: -1 if turn % 2 else 1]:
            runs[name].append(
                run_training(images=images, data_root=data_root, **rivals[name])
            )
    comparisons = []
    cfg = Config.fromfile(ROOT / CONFIG)
    batches = dict(
        step1=cfg.train_dataloader.batch_size,
        step2=cfg.steps.step2.train_dataloader.batch_size * 2,
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


def profile_steps(amp: bool, iterations: int, data_root: str) -> dict[str, float]:
    """What the time of an iteration of step 1 goes to.

    Args:
        amp (bool): Whether to train in bfloat16.
        iterations (int): Iterations to look at.
        data_root (str): The folder of VOC2007.

    Returns:
        dict[str, float]: Share of the operators' time, by kind.
    """
    quiet()
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / CONFIG)
    for key in ('steps', 'runner_type', 'val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg.pop(key, None)
    cfg.train_dataloader.dataset.data_root = data_root
    if amp:
        enable_amp(cfg, train=True)
    set_default_dataloader_cfg(cfg)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.experiment_name = f'profile_{amp}'
        runner = Runner.from_cfg(cfg)
        runner.call_hook('before_run')
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.model.init_weights()
        runner.model.train()
        batches = iter(runner.build_dataloader(runner._train_dataloader))
        runner.model.train_step(next(batches), runner.optim_wrapper)
        with profile(activities=[ProfilerActivity.CPU]) as result:
            for _ in range(iterations):
                runner.model.train_step(next(batches), runner.optim_wrapper)
    totals = dict.fromkeys(KINDS, 0.0)
    for event in result.key_averages():
        kind = next(
            k for k, parts in KINDS.items() if any(p in event.key for p in parts)
        )
        totals[kind] += event.self_cpu_time_total
    whole = sum(totals.values())
    return {kind: total / whole for kind, total in totals.items()}


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
        sys.exit(f'--data-root: {data_root} is no folder of VOC2007 (no ImageSets).')
    images, repeats, iterations = (224, 1, 1) if args.quick else (480, 2, 4)
    rivals = {}
    if args.baseline:
        rivals['baseline, float32'] = dict(checkout=args.baseline.resolve(), options=[])
    rivals['float32'] = dict(checkout=ROOT, options=[])
    rivals['bfloat16'] = dict(checkout=ROOT, options=['--amp'])
    comparisons = compare_loops(rivals, images, repeats, data_root)
    shares = {
        name: profile_steps(amp, iterations, data_root)
        for name, amp in (('float32', False), ('bfloat16', True))
    }
    write(
        args,
        'training_loop',
        'Training loop, EfficientNet-Lite0 on VOC2007',
        DESCRIPTION + describe_profile(shares),
        environment,
        comparisons,
    )


def describe_profile(shares: dict[str, dict[str, float]]) -> str:
    """The profile in words."""
    words = [
        f'{name}: '
        + ', '.join(f'{kind} {100 * share:.0f} %' for kind, share in parts.items())
        for name, parts in shares.items()
    ]
    torch_version = torch.__version__
    return (
        f' Profile of step 1 (torch.profiler {torch_version}, in a process that gives '
        'memory back, share of the time in '
        f'operators): {"; ".join(words)}.'
    )


if __name__ == '__main__':
    main()
