# SPDX-License-Identifier: Apache-2.0
"""Find thresholds, and temperatures, on a score dump of validation images."""

import argparse
import math
import sys
import warnings
from pathlib import Path

from mlcl_plugin.evaluation.cross_fitting import CALIBRATIONS, DecisionRecipe
from mlcl_plugin.evaluation.decision_report import (
    DecisionReport,
    Judgement,
    ReportOptions,
    decision_report,
)
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.evaluation.thresholds import ThresholdTarget
from mlcl_plugin.text_table import text_table
from mlcl_plugin.visualization.reliability_plot import reliability_plot

SCOPES = {'global': 'for all labels', 'per-label': 'for each label'}
SHOWN = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')


def read_target(text: str) -> ThresholdTarget:
    """What --target says."""
    try:
        return ThresholdTarget.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Find thresholds, and temperatures, on what tools/test.py --out '
        'has written for validation images, and write a file that tools/test.py '
        '--decisions takes. Its figures are cross-fitted: every image is judged by '
        'thresholds that were found without it; the file is made from all images. A '
        'plot of scores against frequencies is written beside it'
    )
    parser.add_argument('dump', help='a score dump: .pkl, .csv or .parquet')
    parser.add_argument(
        '--out', required=True, type=Path, help='the decision file to write, .json'
    )
    parser.add_argument(
        '--target',
        type=read_target,
        default='f1',
        help='f1 (default): the best F1; precision=P: the highest recall with at least '
        'that precision; recall=R: the highest precision with at least that recall',
    )
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument(
        '--per-label',
        dest='per_label',
        action='store_true',
        default=True,
        help='a threshold for each label (default)',
    )
    scope.add_argument(
        '--global',
        dest='per_label',
        action='store_false',
        help='one threshold for all labels',
    )
    parser.add_argument(
        '--calibrate',
        choices=CALIBRATIONS,
        default='none',
        help='bring scores nearer to probabilities by a temperature, one for all '
        'labels or one for each (default: none)',
    )
    parser.add_argument(
        '--folds', type=int, default=5, help='folds of cross-fitting (default: 5)'
    )
    parser.add_argument(
        '--in-sample',
        action='store_true',
        help='show figures of the final file on the images it was made from, too; they '
        'are too good',
    )
    parser.add_argument(
        '--thr',
        type=float,
        default=0.5,
        help='the threshold to compare with (default: 0.5)',
    )
    parser.add_argument(
        '--bins',
        type=int,
        default=15,
        help='bins of the calibration error, of equal width (default: 15)',
    )
    parser.add_argument(
        '--resamples',
        type=int,
        default=1000,
        help='resamples of the images that intervals are made from (default: 1000)',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        help='a text file with the names of the labels, one a line, for a .pkl of '
        "MMPretrain's tools/test.py",
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of folds and resamples (default: 0)'
    )
    args = parser.parse_args(args)
    for name, value, least in (
        ('folds', args.folds, 2),
        ('bins', args.bins, 1),
        ('resamples', args.resamples, 1),
        ('seed', args.seed, 0),
    ):
        if value < least:
            parser.error(f'--{name} must be {least} or more, got {value}')
    if not 0 <= args.thr <= 1:
        parser.error(f'--thr must be from 0 to 1, got {args.thr}')
    if args.out.suffix != '.json':
        parser.error(f'--out must end with .json, got {args.out}')
    return args


def overview(report: DecisionReport, args: argparse.Namespace) -> str:
    """The figures of all labels together, as a table."""
    columns = {f'before ({args.thr:g})': report.before, 'after': report.after}
    if args.in_sample:
        columns['in-sample (too good)'] = report.in_sample
    rows = []
    for key in SHOWN:
        texts = [_with_interval(way.figures[key]) for way in columns.values()]
        texts.insert(2, _with_interval(report.gain[key], sign='+'))
        rows.append([key, *texts])
    for name, of in (('ECE', _error), ('mean ECE of labels', _mean_label_error)):
        before, after = of(report.before), of(report.after)
        texts = [f'{100 * of(way):.2f}' for way in columns.values()]
        texts.insert(2, f'{100 * (after - before):+.2f}')
        rows.append([name, *texts])
    names = list(columns)
    names.insert(2, 'gain')
    return text_table(['%', *names], rows)


def _error(judgement: Judgement) -> float:
    return judgement.error


def _mean_label_error(judgement: Judgement) -> float:
    known = [error for error in judgement.label_errors.tolist() if error == error]
    return sum(known) / len(known)


def _with_interval(values: tuple[float, float, float], sign: str = '') -> str:
    value, low, high = (f'{100 * value:{sign}.2f}' for value in values)
    return f'{value} ({low} to {high})'


def label_table(report: DecisionReport) -> str:
    """Threshold, temperature and figures of each label."""

    def percent(value: float) -> str | None:
        return None if math.isnan(value) else f'{100 * value:.2f}'

    calibrated = report.decisions.temperatures is not None
    columns = ['precision', 'recall', 'f1']
    shown = [f'{key}_{when}' for key in columns for when in ('before', 'after')]
    shown += ['ece_before'] + ['ece_after'] * calibrated
    noted = any(row['note'] for row in report.labels)
    header = ['label', 'images', 'threshold'] + ['temperature'] * calibrated
    header += [key.replace('_', ' ') for key in shown] + ['note'] * noted
    rows = []
    for row in report.labels:
        cells = [row['label'], row['support'], f'{row["threshold"]:.4f}']
        cells += [f'{row["temperature"]:.3f}'] * calibrated
        cells += [percent(row[key]) for key in shown] + [row['note']] * noted
        rows.append(cells)
    return text_table(header, rows)


def verdict(report: DecisionReport) -> str:
    """Whether images that had no part in thresholds gain by them."""
    words = []
    for key in ('CF1', 'OF1'):
        _, low, high = report.gain[key]
        kind = 'higher' if low > 0 else 'lower' if high < 0 else 'not shown to differ'
        words.append(f'{key} is {kind}')
    return ', '.join(words)


def analyse(args: argparse.Namespace) -> None:
    """Find decisions, write and print them."""
    dump = ScoreDump.load(args.dump, args.classes)
    recipe = DecisionRecipe(args.target, args.per_label, args.calibrate)
    options = ReportOptions(
        thr=args.thr,
        num_folds=args.folds,
        num_bins=args.bins,
        num_resamples=args.resamples,
        seed=args.seed,
    )
    report = decision_report(dump, recipe, options)
    report.decisions.info['dump'] = args.dump
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report.decisions.save(args.out)

    curves = {'before': report.before.curve}
    errors = {'before': report.before.label_errors}
    if args.calibrate != 'none':
        curves['after'] = report.after.curve
        errors['after'] = report.after.label_errors
    title = f'Reliability of {Path(args.dump).name}, {len(dump.images):,} images'
    if args.calibrate != 'none':
        title += f'; one temperature {SCOPES[args.calibrate]}, cross-fitted'
    picture = args.out.with_suffix('.png')
    with warnings.catch_warnings():
        # Fonts lack some scripts; the names are whole in the table.
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        reliability_plot(curves, errors, dump.classes, title).savefig(picture)

    scope = 'a threshold for each label' if args.per_label else 'one threshold'
    print(
        f'{len(dump.images):,} images, {len(dump.classes):,} labels; {scope}, target '
        f'{args.target}, calibration: {args.calibrate}\n\n{label_table(report)}\n\n'
        f'{overview(report, args)}\n\n'
        f'"after" is cross-fitted: each image is judged by what was found on the other '
        f'{args.folds - 1} of {args.folds} folds.\nThresholds and temperatures are '
        'those of all images. In brackets: 95 % bootstrap intervals over images.\n'
        f'On images that had no part in them, {verdict(report)}.\n'
        f'{args.out}, {picture.name}'
    )


def main(args: list[str] | None = None) -> int:
    """Find the decisions that the command line asks for.

    Returns:
        int: The exit code: 2 if command line or dump are at fault, else 0.
    """
    args = parse_args(args)
    try:
        analyse(args)
    except (OSError, ValueError, ImportError) as error:
        print(f'thresholds: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
