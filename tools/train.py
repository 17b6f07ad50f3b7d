# SPDX-License-Identifier: Apache-2.0
"""Train a model; the same flags as MMPretrain's ``tools/train.py``."""

import argparse
import os

from mmengine.config import Config
from mmengine.dist import is_main_process

from mlcl_plugin.command_line import (
    TRUST_FLAGS,
    add_cfg_options,
    add_launcher,
    add_trust_options,
    one_line_errors,
)
from mlcl_plugin.engine import (
    allow_unsafe_checkpoints,
    build_runner,
    check_restart,
    enable_amp,
    end_with_launcher,
    keep_memory,
    load_config,
    merge_options,
    set_default_dataloader_cfg,
    set_resume,
    set_work_dir,
    setup_cpu_distributed,
    skip_validation,
)
from mlcl_plugin.errors import FinishedError
from mlcl_plugin.plain_text import printable


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--work-dir', help='the folder to save logs and models in')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='a checkpoint to resume from; without one, the latest checkpoint in '
        'the work directory (with steps: of the unfinished step) or, if no training '
        'has begun there, a start as without --resume',
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
    add_cfg_options(parser)
    add_trust_options(parser)
    add_launcher(parser)
    args = parser.parse_args(args)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Merge the command line into the config."""
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.config, args.work_dir)
    if args.no_validate:
        skip_validation(cfg)
    if args.amp:
        enable_amp(cfg, train=True)
    if args.auto_scale_lr:
        cfg.auto_scale_lr.enable = True
    # The rest depends on what the options may set: weights to load, workers.
    merge_options(cfg, args.cfg_options)
    if args.allow_other_labels:
        cfg.allow_other_labels = True
    set_resume(cfg, args.resume)
    set_default_dataloader_cfg(
        cfg, not args.no_pin_memory, not args.no_persistent_workers
    )
    return cfg


def main() -> None:
    args = parse_args()
    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    with one_line_errors('train', TRUST_FLAGS):
        cfg = merge_args(load_config(args.config), args)
        end_with_launcher(cfg)
        check_restart(cfg, resume=args.resume is not None)
        setup_cpu_distributed(cfg)
        try:
            build_runner(cfg).train()
        except FinishedError as finished:
            if is_main_process():
                print(printable(str(finished)))


if __name__ == '__main__':
    main()
