# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint; the same flags as MMPretrain's ``tools/test.py``."""

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

# What a score dump ends with.
SUFFIXES = ('.pkl', '.csv', '.parquet')


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = 'Test (and evaluate) a model'
    parser.flags = TRUST_FLAGS | {'engine': '--engine'}
    parser.examples = (
        'mlcl_efflite0_voc07 model.pth --out scores.parquet',
        'mlcl_efflite0_voc07 model.pth --decisions decisions.json',
    )
    parser.add_check(check)
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='the folder to save metrics and logs in')
    parser.add_argument(
        '--out',
        help='the file to save results in: predictions as .pkl, or a table of scores '
        'and targets as .csv or .parquet',
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what to save in --out; predictions if not given',
    )
    parser.add_argument(
        '--decisions',
        help='a file that mlcl thresholds has written: '
        'MultiLabelRecognitionMetric uses its temperatures and thresholds of each '
        'label instead of its own threshold. --out saves scores as they are',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--amp',
        action='store_true',
        help='test with automatic mixed precision; on a CPU in bfloat16',
    )
    parser.add_argument(
        '--engine',
        choices=['torch', 'onnxruntime'],
        default='torch',
        help='what computes the scores (default: torch); ONNX Runtime is faster on a '
        'CPU, after some seconds',
    )
    parser.add_argument('--show-dir', help='the folder to save annotated images in')
    parser.add_argument(
        '--show', action='store_true', help='show predictions in a window'
    )
    parser.add_argument(
        '--interval', type=int, default=1, help='visualize every n-th sample'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds to show a window'
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='no pin_memory in dataloaders'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation by the config's tta_pipeline and tta_model; "
        'without these, the mean over the image and its mirror image',
    )
    add_trust_options(parser)
    add_launcher(parser)


def check(args: argparse.Namespace) -> None:
    """Check options together."""
    if args.engine == 'onnxruntime' and args.amp:
        raise ValueError('--engine onnxruntime computes in float32: leave --amp out')
    if args.out is None and args.out_item is not None:
        raise ValueError('--out-item needs --out FILE')
    if args.out and args.out_item != 'metrics' and not args.out.endswith(SUFFIXES):
        raise ValueError(
            f'--out must end with one of {SUFFIXES} for predictions, got {args.out}'
        )


def merge_args(cfg: 'Config', args: argparse.Namespace) -> 'Config':
    """Merge the command line into the config."""
    from ..engine import (
        check_checkpoint,
        enable_amp,
        merge_options,
        set_default_dataloader_cfg,
        set_work_dir,
    )
    from ..engine.evaluator_config import add_metric, use_decisions
    from ..engine.tta import add_tta

    cfg.launcher = args.launcher
    set_work_dir(cfg, args.config, args.work_dir)
    cfg.load_from = check_checkpoint(args.checkpoint)
    if args.amp:
        enable_amp(cfg, train=False)
    if args.show or args.show_dir is not None:
        hook = dict(type='VisualizationHook')
        hook = cfg.default_hooks.setdefault('visualization', hook)
        hook.update(
            enable=True,
            show=args.show,
            wait_time=args.wait_time,
            out_dir=args.show_dir,
            interval=args.interval,
        )
    # The rest changes what the options may set: model, evaluator, workers.
    merge_options(cfg, args.cfg_options, used_steps=())
    if args.allow_other_labels:
        cfg.allow_other_labels = True
    if args.tta:
        add_tta(cfg)
    if args.decisions:
        use_decisions(cfg, args.decisions)
    if args.out and args.out_item != 'metrics':
        add_metric(cfg, dict(type='DumpScores', out_file_path=args.out))
    set_default_dataloader_cfg(cfg, pin_memory=not args.no_pin_memory)
    return cfg


def run(args: argparse.Namespace) -> int:
    """Evaluate what the command line names."""
    import mmengine
    from mmengine.logging import print_log

    from ..engine import (
        CheckpointCheckHook,
        allow_unsafe_checkpoints,
        build_runner,
        end_with_launcher,
        keep_memory,
        load_config,
        setup_cpu_distributed,
    )
    from ..engine.onnx_graph import require_packages

    if args.engine == 'onnxruntime':
        # Before the data is read.
        require_packages()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    cfg = merge_args(load_config(args.config), args)
    end_with_launcher(cfg)
    setup_cpu_distributed(cfg)
    runner = build_runner(cfg)
    runner.register_hook(CheckpointCheckHook())
    if args.engine == 'onnxruntime':
        from ..inference.onnx_test_hook import OnnxTestHook

        runner.register_hook(OnnxTestHook())
    if args.decisions:
        print_log(f'Labels are predicted by {args.decisions}.', logger='current')
    metrics = runner.test()
    if args.out and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)
    return 0
