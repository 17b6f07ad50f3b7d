# SPDX-License-Identifier: Apache-2.0
"""What frames every benchmark: options, the machine it ran on, the file of results."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from report import draw, format_result

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks/results'
PACKAGES = (
    'torch',
    'numpy',
    'opencv-python',
    'opencv-python-headless',
    'msgspec',
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
    """Keep MMEngine from logging how every weight is initialised."""
    MMLogger.get_current_instance().setLevel('WARNING')


def describe_environment() -> dict:
    """The machine, the versions, the commit and the command of this run."""
    processor, flags = platform.processor() or platform.machine(), []
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        info = dict(line.split(':', 1) for line in lines if ':' in line)
        info = {key.strip(): value.split() for key, value in info.items()}
        processor, flags = ' '.join(info['model name']), info['flags']
    except (OSError, KeyError):
        pass  # Not Linux, or not a processor that tells.
    versions = dict(python=platform.python_version())
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return dict(
        processor=processor,
        bfloat16=[flag for flag in ('avx512_bf16', 'amx_bf16') if flag in flags],
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count(),
        threads=torch.get_num_threads(),
        # What else the machine was doing.
        load_before=os.getloadavg()[0] if hasattr(os, 'getloadavg') else None,
        versions=versions,
        commit=_commit(),
        date=datetime.datetime.now().astimezone().isoformat(timespec='minutes'),
        command=shlex.join(
            ['python', f'benchmarks/{Path(sys.argv[0]).name}', *map(_cut, sys.argv[1:])]
        ),
    )


def _cut(argument: str) -> str:
    """Of absolute paths the name: the folders of a machine are of no use elsewhere."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _commit() -> str | None:
    """The commit, marked where files other than results differ from it."""
    commit = _git('rev-parse', '--short', 'HEAD')
    changes = _git('status', '--porcelain', '--', '.', ':!benchmarks/results', ':!docs')
    return f'{commit}-dirty' if commit and changes else commit


def _git(*args: str) -> str | None:
    try:
        call = subprocess.run(['git', *args], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return call.stdout.strip() or None


def parse_args(description: str, args: Sequence[str] | None = None, **options):
    """Parse the options that all benchmarks have, and further ones.

    Args:
        description (str): What is measured.
        args (Sequence[str], optional): The command line. Defaults to
            ``sys.argv``.
        **options: Names of further options, each with a dict of the arguments of
            ``add_argument``.

    Returns:
        argparse.Namespace: ``quick``, ``out`` and the further options.
    """
    parser = argparse.ArgumentParser(description=description)
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
        # Tiny sizes never take the place of results.
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
        args (argparse.Namespace): Of :func:`parse_args`.
        name (str): The name of the files.
        title (str): The name of the benchmark.
        description (str): What is measured, for the docs.
        environment (dict): Of :func:`describe_environment`, taken at the start.
        comparisons (Sequence[dict]): Of :func:`compare`, with a ``title``.
        curves (Sequence[dict]): Of :func:`curve`.
        tables (Sequence[dict]): Further tables, each with ``title`` and ``rows``,
            which are dicts of texts by column.
    """
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
