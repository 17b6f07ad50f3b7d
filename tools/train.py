# SPDX-License-Identifier: Apache-2.0
"""Train a model; the same flags as MMPretrain's ``tools/train.py``."""

import argparse
import os
import os.path as osp

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS

from mlcl_plugin.engine import (
    CheckedRunner,
    check_step_options,
    enable_amp,
    has_begun,
    keep_memory,
    set_default_dataloader_cfg,
    setup_cpu_distributed,
)


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--work-dir', help='the folder to save logs and models in')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='a checkpoint to resume from; without one, the latest checkpoint in '
        'the work directory (of a config in steps: in its unfinished step) or, if '
        'nothing has begun there, a start as without --resume',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train with automatic mixed precision; on a CPU in bfloat16',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate while training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by actual over original batch size',
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='no pin_memory in dataloaders'
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='no persistent_workers in dataloaders',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings to override in the config, as xxx=yyy, also nested and in '
        'lists: key="[a,b]" or key="[(a,b),(c,d)]", quoted and without blanks',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # Set by torch.distributed.launch, which torchrun has replaced.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(args)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Merge the command line into the config."""
    if args.no_validate:
        cfg.val_cfg = None
        cfg.val_dataloader = None
        cfg.val_evaluator = None

    cfg.launcher = args.launcher

    # In this order: command line, config, name of the config file.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)

    if args.amp:
        enable_amp(cfg, train=True)

    if args.auto_scale_lr:
        cfg.auto_scale_lr.enable = True

    # The number of workers may come from the options, so these go first.
    if args.cfg_options is not None:
        check_step_options(cfg.get('steps'), args.cfg_options)
        cfg.merge_from_dict(args.cfg_options)
    # So may the weights that the first call started from.
    if args.resume == 'auto':
        folders = [cfg.work_dir]
        folders += [osp.join(cfg.work_dir, name) for name in cfg.get('steps') or {}]
        cfg.resume = any(map(has_begun, folders))
        if cfg.resume:
            cfg.load_from = None
    elif args.resume is not None:
        cfg.resume = True
        cfg.load_from = args.resume
    set_default_dataloader_cfg(
        cfg, not args.no_pin_memory, not args.no_persistent_workers
    )
    return cfg


def main() -> None:
    args = parse_args()
    keep_memory()
    cfg = merge_args(Config.fromfile(args.config), args)
    setup_cpu_distributed(cfg)
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = CheckedRunner.from_cfg(cfg)
    runner.train()


if __name__ == '__main__':
    main()
