# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint; the same flags as MMPretrain's ``tools/test.py``."""

import argparse
import os
import os.path as osp
from copy import deepcopy

import mmengine
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import RUNNERS

from mlcl_plugin.engine import (
    CheckedRunner,
    CheckpointCheckHook,
    enable_amp,
    keep_memory,
    set_default_dataloader_cfg,
    setup_cpu_distributed,
)
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.metrics.dump_scores import DumpScores
from mlcl_plugin.evaluation.metrics.multi_label_recognition import (
    MultiLabelRecognitionMetric,
)
from mlcl_plugin.evaluation.score_dump import SUFFIXES


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test (and evaluate) a model')
    parser.add_argument('config', help='test config file path')
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
        help='a file that tools/analysis_tools/thresholds.py has written: its '
        'temperatures and thresholds of each label take the place of the threshold of '
        'MultiLabelRecognitionMetric. What --out saves are scores as they are',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings to override in the config, as xxx=yyy, also nested and in '
        'lists: key="[a,b]" or key="[(a,b),(c,d)]", quoted and without blanks',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='test with automatic mixed precision; on a CPU in bfloat16',
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
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # Set by torch.distributed.launch, which torchrun has replaced.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(args)
    if args.out is None and args.out_item is not None:
        parser.error('--out-item needs --out FILE')
    if args.out and args.out_item != 'metrics' and not args.out.endswith(SUFFIXES):
        parser.error(
            f'--out must end with one of {SUFFIXES} for predictions, got {args.out}'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def add_tta(cfg: Config) -> None:
    """Wrap the model in a config for test-time augmentation."""
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
    if 'tta_pipeline' not in cfg:
        pipeline = deepcopy(cfg.test_dataloader.dataset.pipeline)
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        pipeline[-1] = dict(type='TestTimeAug', transforms=[flips, [pipeline[-1]]])
        cfg.tta_pipeline = pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    # The EMA hook does not find its weights inside the wrapper and would test a model
    # of random ones. A checkpoint's own weights are the EMA weights already.
    cfg.custom_hooks = [
        hook
        for hook in cfg.get('custom_hooks') or []
        if 'EMAHook' not in str(hook.get('type'))
    ]
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Merge the command line into the config."""
    cfg.launcher = args.launcher

    # In this order: command line, config, name of the config file.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)

    if not osp.isfile(args.checkpoint) and '://' not in args.checkpoint:
        raise FileNotFoundError(f'Checkpoint {args.checkpoint} does not exist.')
    cfg.load_from = args.checkpoint

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

    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.tta:
        add_tta(cfg)
    set_default_dataloader_cfg(cfg, pin_memory=not args.no_pin_memory)
    return cfg


def use_decisions(metrics: list[BaseMetric], path: str, decisions: Decisions) -> None:
    """Let the metrics that can predict labels by decisions."""
    able = [m for m in metrics if isinstance(m, MultiLabelRecognitionMetric)]
    if not able:
        raise ValueError(
            f'--decisions {path} needs a MultiLabelRecognitionMetric in '
            f'test_evaluator, got {[type(metric).__name__ for metric in metrics]}.'
        )
    for metric in able:
        metric.rule = decisions
    print_log(f'Labels are predicted by {path}.', logger='current')


def main() -> None:
    args = parse_args()
    # Before what takes long.
    decisions = args.decisions and Decisions.load(args.decisions)
    keep_memory()
    cfg = merge_args(Config.fromfile(args.config), args)
    setup_cpu_distributed(cfg)
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = CheckedRunner.from_cfg(cfg)
    runner.register_hook(CheckpointCheckHook())

    if args.out and args.out_item != 'metrics':
        dump = DumpScores(out_file_path=args.out)
        dump.dataset_meta = runner.test_evaluator.dataset_meta
        runner.test_evaluator.metrics.append(dump)
    if decisions:
        use_decisions(runner.test_evaluator.metrics, args.decisions, decisions)
    metrics = runner.test()
    if args.out and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
