# SPDX-License-Identifier: Apache-2.0
"""Profile training steps of a recipe with the version of the package that is found.

bench_training_loop.py calls it in a separate process, also with older versions of this
project. Therefore it checks what the package has before it uses it.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.profiler import ProfilerActivity, profile

import mlcl_plugin  # noqa: F401, registers its modules
from mlcl_plugin import engine

KINDS = {
    'convolution': ('convolution', 'mkldnn_conv'),
    'batch norm': ('batch_norm',),
    'matrix products': ('mm', 'linear', 'einsum', 'attention'),
    'copies and casts': ('copy_', '_to_copy', 'contiguous', 'clone'),
    'optimizer': ('addcdiv', 'addcmul', 'lerp', '_foreach', 'sqrt'),
    'element by element': ('',),
}
"""Kinds of operators, by a part of their name; the first match counts."""


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('data_root')
    parser.add_argument('out', type=Path, help='file for the milliseconds by kind')
    parser.add_argument('--amp', action='store_true')
    parser.add_argument('--iterations', type=int, default=4)
    return parser.parse_args(args)


def profile_steps(
    config: str, data_root: str, amp: bool, iterations: int
) -> dict[str, float]:
    """Measure which operators an iteration of step 1 spends its time in.

    Args:
        config (str): The recipe.
        data_root (str): The folder of VOC2007.
        amp (bool): Whether to train in bfloat16.
        iterations (int): Iterations to profile.

    Returns:
        dict[str, float]: Milliseconds per iteration by kind of operator.
    """
    MMLogger.get_current_instance().setLevel('WARNING')
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(config)
    # A plain runner takes the config without its steps.
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg.pop(key, None)
    cfg.train_dataloader.dataset.data_root = data_root
    if amp:
        engine.enable_amp(cfg, train=True)
    engine.set_default_dataloader_cfg(cfg)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.experiment_name = f'profile_{amp}'
        runner = Runner.from_cfg(cfg)
        runner.call_hook('before_run')
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.model.init_weights()
        runner.model.train()
        batches = iter(runner.build_dataloader(runner._train_dataloader))
        for _ in range(2):
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
    return {kind: total / iterations / 1000 for kind, total in totals.items()}


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    if hasattr(engine, 'keep_memory'):
        engine.keep_memory()
    times = profile_steps(args.config, args.data_root, args.amp, args.iterations)
    args.out.write_text(json.dumps(times))


if __name__ == '__main__':
    main()
