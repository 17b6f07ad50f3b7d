# SPDX-License-Identifier: Apache-2.0
"""Evaluate score dumps without a model, and compare several of the same images."""

import argparse
from pathlib import Path

from ..command_line import CommandParser, add_dump_classes, number

# Labels in a table that is printed; the files have all.
PRINTED_LABELS = 40
# As many as the plot of precision against recall has colours.
MAX_DUMPS = 6


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Evaluate what mlcl test --out has written, without a model: all metrics with '
        'intervals, a table of labels, curves of precision against recall, and pairs '
        'of labels that are confused. Several dumps of the same images are compared '
        'with the first one'
    )
    parser.flags = {'classes': '--classes', 'thr': '--thr'}
    parser.examples = (
        'test_scores.parquet --decisions decisions.json --out evaluation',
        'old.parquet new.parquet --topk 5',
    )
    parser.add_check(check)
    parser.add_argument('dumps', nargs='+', help='score dumps: .pkl, .csv or .parquet')
    parser.add_argument(
        '--decisions',
        nargs='+',
        default=[],
        help='a file of mlcl thresholds, or one for each dump',
    )
    parser.add_argument(
        '--thr',
        type=number(float),
        default=0.5,
        help='the threshold of all labels without --decisions (default: 0.5)',
    )
    parser.add_argument(
        '--topk',
        type=number(least=1),
        default=3,
        help='largest number of labels per image in the top-k metrics (default: 3)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='the folder to write report.md, report.json, labels.csv, '
        'confused_pairs.csv and precision_recall.png to',
    )
    parser.add_argument(
        '--spreadsheet',
        action='store_true',
        help='write an apostrophe before names in CSV files that begin with = + - or '
        '@, which a spreadsheet would run as formulas',
    )
    parser.add_argument(
        '--pairs',
        type=number(least=0),
        default=20,
        help='largest number of confused pairs of labels (default: 20)',
    )
    parser.add_argument(
        '--resamples',
        type=number(least=1),
        default=1000,
        help='resamples of the images for intervals, and permutations for tests '
        '(default: 1000)',
    )
    add_dump_classes(parser)
    parser.add_argument(
        '--seed', type=number(least=0), default=0, help='seed of the draws (default: 0)'
    )


def check(args: argparse.Namespace) -> None:
    """Check the number of dumps and of --decisions."""
    if len(args.dumps) > MAX_DUMPS:
        raise ValueError(f'at most {MAX_DUMPS} dumps, got {len(args.dumps)}')
    if len(args.decisions) not in (0, 1, len(args.dumps)):
        raise ValueError(
            f'--decisions needs one file or one for each of the {len(args.dumps)} '
            f'dumps, got {len(args.decisions)}'
        )


def run(args: argparse.Namespace) -> int:
    """Evaluate the dumps that the command line names."""
    from ..reports.evaluation_files import write_evaluation
    from ..reports.evaluation_report import EvaluationOptions, evaluate_files
    from ..reports.evaluation_text import evaluation_text

    options = EvaluationOptions(args.topk, args.pairs, args.resamples, args.seed)
    report = evaluate_files(args.dumps, args.thr, args.decisions, args.classes, options)
    print(evaluation_text(report, PRINTED_LABELS))
    if args.out is not None:
        written = write_evaluation(report, args.out, args.spreadsheet)
        print(f'{args.out}: {", ".join(written)}')
    return 0
