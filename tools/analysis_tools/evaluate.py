# SPDX-License-Identifier: Apache-2.0
"""Evaluate score dumps without a model, and compare several of the same images."""

import argparse
import sys
from pathlib import Path

from mlcl_plugin.command_line import number, one_line_errors
from mlcl_plugin.reports.evaluation_files import write_evaluation
from mlcl_plugin.reports.evaluation_report import EvaluationOptions, evaluate_files
from mlcl_plugin.reports.evaluation_text import evaluation_text
from mlcl_plugin.visualization.precision_recall_plot import COLOURS

# Labels in a table that is printed; the files have all.
PRINTED_LABELS = 40
FLAGS = {'classes': '--classes', 'thr': '--thr'}


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Evaluate what tools/test.py --out has written, without a model: '
        'all metrics with intervals, a table of labels, curves of precision against '
        'recall, and pairs of labels that are confused. Several dumps of the same '
        'images are compared with the first one'
    )
    parser.add_argument('dumps', nargs='+', help='score dumps: .pkl, .csv or .parquet')
    parser.add_argument(
        '--decisions',
        nargs='+',
        default=[],
        help='a file of tools/analysis_tools/thresholds.py, or one for each dump',
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
    parser.add_argument(
        '--classes',
        type=Path,
        help='a text file with the names of the labels, one per line, for a .pkl of '
        "MMPretrain's tools/test.py",
    )
    parser.add_argument(
        '--seed', type=number(least=0), default=0, help='seed of the draws (default: 0)'
    )
    args = parser.parse_args(args)
    if len(args.dumps) > len(COLOURS):
        parser.error(f'at most {len(COLOURS)} dumps, got {len(args.dumps)}')
    if len(args.decisions) not in (0, 1, len(args.dumps)):
        parser.error(
            f'--decisions needs one file or one for each of the {len(args.dumps)} '
            f'dumps, got {len(args.decisions)}'
        )
    return args


def main(args: list[str] | None = None) -> None:
    """Evaluate the dumps that the command line names."""
    args = parse_args(args)
    options = EvaluationOptions(args.topk, args.pairs, args.resamples, args.seed)
    with one_line_errors('evaluate', FLAGS):
        report = evaluate_files(
            args.dumps, args.thr, args.decisions, args.classes, options
        )
        print(evaluation_text(report, PRINTED_LABELS))
        if args.out is not None:
            written = write_evaluation(report, args.out, args.spreadsheet)
            print(f'{args.out}: {", ".join(written)}')


if __name__ == '__main__':
    sys.exit(main())
