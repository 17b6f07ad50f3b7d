# SPDX-License-Identifier: Apache-2.0
"""Check the data sets of a config before training on them."""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..command_line import (
    CommandParser,
    add_cfg_options,
    add_config,
    number,
    to_flags,
)

if TYPE_CHECKING:
    from ..data_check import DatasetReport

# The flags of the library's arguments.
FLAGS = {'workers': '--workers', 'near_duplicates': '--near-duplicates'}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Read every data set that a config names, images included, and report what it '
        'holds and what is wrong with it: a table, a JSON and pictures. Exit code 0: '
        'no error, maybe warnings. 1: training would break or be spoilt. 2: command '
        'line or config are wrong.'
    )
    parser.flags = FLAGS
    parser.examples = (
        'mlcl_efflite0_voc07',
        'my_config.py --out work_dirs/my_data --samples 48 --workers 4',
    )
    add_config(parser)
    parser.add_argument(
        '--out',
        type=Path,
        help='the folder to write to (default: work_dirs/check_dataset/CONFIG)',
    )
    parser.add_argument(
        '--workers',
        type=number(int, least=0),
        default=min(8, os.cpu_count() or 1),
        help='processes that read images; 0 reads them in this one (default: one per '
        'core, 8 at most)',
    )
    parser.add_argument(
        '--skip-images',
        action='store_true',
        help='check annotations only, neither image files nor duplicates',
    )
    parser.add_argument(
        '--near-duplicates',
        choices=['none', 'upright', 'flipped'],
        default='upright',
        help='look for images that were resized, compressed or cropped a little: none, '
        'as they are (upright), or mirrored, too (flipped) (default: upright)',
    )
    parser.add_argument(
        '--max-labels',
        type=number(int, least=1),
        default=40,
        help='largest number of labels in a picture, the most frequent ones (default: '
        '40)',
    )
    parser.add_argument(
        '--samples',
        type=number(int, least=1),
        default=24,
        help='images on the sample sheet of a split, taken at equal distances '
        '(default: 24)',
    )
    add_cfg_options(parser)


def name_flags(report: 'DatasetReport') -> 'DatasetReport':
    """Write arguments of the library in findings as flags of this command."""
    findings = [
        replace(finding, message=to_flags(finding.message, FLAGS))
        for finding in report.findings
    ]
    return replace(report, findings=findings)


def run(args: argparse.Namespace) -> int:
    """Check the data sets that the command line asks for.

    Returns:
        int: The exit code 0 or 1. Wrong input ends with code 2 instead.
    """
    from ..data_check import check_datasets
    from ..data_check.pictures import save_near_duplicates, save_pictures
    from ..engine import load_config

    out = args.out or Path('work_dirs/check_dataset') / Path(args.config).stem
    cfg = load_config(args.config, args.cfg_options)
    out.mkdir(parents=True, exist_ok=True)
    report = check_datasets(
        cfg,
        args.workers,
        not args.skip_images,
        progress=True,
        near_duplicates=args.near_duplicates,
    )
    report = name_flags(report)
    title = f'Data sets of {args.config}'
    (out / 'report.json').write_text(report.to_json() + '\n', encoding='utf-8')
    (out / 'report.md').write_text(report.to_markdown(title), encoding='utf-8')
    written = ['report.md', 'report.json']
    for split in report.splits:
        written += save_pictures(split, out, args.max_labels, args.samples)
    written += save_near_duplicates(report.splits, report.near_duplicates, out)
    print(report.to_markdown(title, max_labels=20, max_examples=10))
    print(f'{out}: {", ".join(written)}')
    return 0 if report.ok else 1
