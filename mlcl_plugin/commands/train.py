# SPDX-License-Identifier: Apache-2.0
"""Train a model; the same flags as MMPretrain's ``tools/train.py``."""

import argparse
import os
from typing import TYPE_CHECKING

from ..command_line import (
    TRUST_FLAGS,
    CommandParser,
    add_cfg_options,
    add_config,
    add_launcher,
    add_trust_options,
)

if TYPE_CHECKING:
    from mmengine.config import Config


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = 'Train a model'
    parser.flags = TRUST_FLAGS
    parser.examples = (
        'mlcl_efflite0_voc07 --work-dir work_dirs/voc',
        'mlcl_efflite0_voc07 --resume --amp --cfg-options '
        'train_dataloader.batch_size=32',
    )
    add_config(parser)
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


def merge_args(cfg: 'Config', args: argparse.Namespace) -> 'Config':
    """Merge the command line into the config."""
    from ..engine import (
        enable_amp,
        merge_options,
        set_default_dataloader_cfg,
        set_resume,
        set_work_dir,
        skip_validation,
    )

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


def run(args: argparse.Namespace) -> int:
    """Train what the command line names."""
    from mmengine.dist import is_main_process

    from ..engine import (
        allow_unsafe_checkpoints,
        build_runner,
        check_restart,
        end_with_launcher,
        keep_memory,
        load_config,
        setup_cpu_distributed,
    )
    from ..errors import FinishedError
    from ..plain_text import printable

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    cfg = merge_args(load_config(args.config), args)
    end_with_launcher(cfg)
    check_restart(cfg, resume=args.resume is not None)
    setup_cpu_distributed(cfg)
    try:
        build_runner(cfg).train()
    except FinishedError as finished:
        if is_main_process():
            print(printable(str(finished)))
    return 0
