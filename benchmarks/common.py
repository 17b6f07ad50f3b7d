# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks share: options, the machine, the file of results."""

import argparse
import datetime
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from report import draw, format_result

from mlcl_plugin.engine.environment import (
    count_cores,
    current_commit,
    describe_processor,
    installed_versions,
)

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks/results'
# Files whose changes do not make a commit another one.
GENERATED = ('benchmarks/results', 'studies/results', 'docs')
PACKAGES = (
    'torch',
    'faiss-cpu',
    'numpy',
    'opencv-python',
    'opencv-python-headless',
    'msgspec',
    'onnxruntime',
    'openvino',
    'onedl-mmpretrain',
    'onedl-mmengine',
    'onedl-mmcv',
    'mmpretrain',
    'mmengine',
    'mmcv-lite',
    'mlcl_plugin',
    'pycocotools',
    'pytorch-metric-learning',
    'scikit-learn',
)


def quiet() -> None:
    """Stop MMEngine from logging how each weight is initialised."""
    MMLogger.get_current_instance().setLevel('WARNING')


def read_device(name: str) -> str:
    """Check that a device exists, for ``--device``."""
    if name not in ('cpu', 'cuda'):
        raise argparse.ArgumentTypeError(f'expected cpu or cuda, got {name}')
    if name == 'cuda' and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError(
            'torch finds no CUDA device on this machine (mlcl doctor says more)'
        )
    return name


DEVICE = dict(
    type=read_device,
    default='cpu',
    help='cpu or cuda (default: cpu); results of cuda go to NAME_cuda.json',
)
"""The option of benchmarks that can run on a GPU."""


def describe_environment(device: str = 'cpu') -> dict:
    """Describe the machine, the versions, the commit and the command of this run.

    Args:
        device (str): Where the benchmark computes. Defaults to ``'cpu'``.
    """
    name, flags = describe_processor()
    return dict(
        device=None if device == 'cpu' else _describe_gpu(),
        processor=name,
        bfloat16=[flag for flag in ('avx512_bf16', 'amx_bf16') if flag in flags],
        cores=count_cores(),
        threads=torch.get_num_threads(),
        # What else the machine was doing.
        load_before=os.getloadavg()[0] if hasattr(os, 'getloadavg') else None,
        versions=installed_versions(PACKAGES),
        commit=current_commit(ROOT, GENERATED),
        date=datetime.datetime.now().astimezone().isoformat(timespec='minutes'),
        command=shlex.join(
            [
                'python',
                f'benchmarks/{Path(sys.argv[0]).name}',
                *map(_name_of_path, sys.argv[1:]),
            ]
        ),
    )


def _describe_gpu() -> str:
    properties = torch.cuda.get_device_properties(0)
    memory = f'{properties.total_memory / 1e9:.0f} GB'
    return f'{properties.name}, {memory}, CUDA {torch.version.cuda}'


def _name_of_path(argument: str) -> str:
    """Shorten an absolute path to its name: folders differ between machines."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def parse_args(
    description: str,
    args: Sequence[str] | None = None,
    positional: dict[str, dict] | None = None,
    **options,
):
    """Parse the options that all benchmarks have, and further ones.

    Args:
        description (str): What is measured.
        args (Sequence[str], optional): The command line. Defaults to
            ``sys.argv``.
        positional (dict[str, dict], optional): Arguments without a flag, as
            ``options``. Defaults to none.
        **options: Names of further options, each with a dict of the arguments of
            ``add_argument``.

    Returns:
        argparse.Namespace: ``quick``, ``out`` and the further options.
    """
    parser = argparse.ArgumentParser(description=description)
    for name, arguments in (positional or {}).items():
        parser.add_argument(name, **arguments)
    parser.add_argument(
        '--quick',
        action='store_true',
        help='tiny sizes: shows that the benchmark runs, measures nothing of use',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for NAME.json and its plots (default: benchmarks/results, '
        'work_dirs/benchmarks with --quick)',
    )
    for name, arguments in options.items():
        parser.add_argument(f'--{name.replace("_", "-")}', **arguments)
    args = parser.parse_args(args)
    if args.out is None:
        # Tiny sizes never replace results.
        args.out = ROOT / 'work_dirs/benchmarks' if args.quick else RESULTS
    return args


def write(
    args: argparse.Namespace,
    name: str,
    title: str,
    description: str,
    environment: dict,
    comparisons: Sequence[dict] = (),
    curves: Sequence[dict] = (),
    tables: Sequence[dict] = (),
) -> None:
    """Write the results of a benchmark, draw and print them.

    Args:
        args (argparse.Namespace): The result of :func:`parse_args`.
        name (str): The name of the files; those of a GPU end with ``_cuda``.
        title (str): The name of the benchmark.
        description (str): What is measured, for the docs.
        environment (dict): The result of :func:`describe_environment`, taken at the
            start.
        comparisons (Sequence[dict]): Results of :func:`measure`.
        curves (Sequence[dict]): Results of :func:`grow`.
        tables (Sequence[dict]): Further tables, each with ``title`` and ``rows``,
            which are dicts of texts by column.
    """
    if environment.get('device') is not None:
        name, title = f'{name}_cuda', f'{title}, on a GPU'
    result = dict(
        name=name,
        title=title,
        description=description,
        quick=args.quick,
        environment=environment,
        comparisons=list(comparisons),
        curves=list(curves),
        tables=list(tables),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f'{name}.json'
    path.write_text(json.dumps(result, indent=1) + '\n')
    print(format_result(result))
    for written in (path, *draw(result, args.out)):
        print(os.path.relpath(written))
