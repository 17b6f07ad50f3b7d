# SPDX-License-Identifier: Apache-2.0
"""Find thresholds, and temperatures, on a score dump of validation images."""

import argparse
from pathlib import Path

from ..command_line import CommandParser, add_dump_classes, number

# The flags of the library's arguments.
FLAGS = {'classes': '--classes', 'num_folds': '--folds'}
CALIBRATIONS = ('none', 'global', 'per-label')


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Find thresholds, and temperatures, on what mlcl test --out has written for '
        'validation images, and write a file for mlcl test --decisions. The metrics '
        'shown are cross-fitted: every image is judged by thresholds that were found '
        'without it; the file is made from all images. A plot of scores against '
        'frequencies is written beside it. With --priors, thresholds follow from how '
        'frequent labels are among the training images, and no dump is needed'
    )
    parser.flags = FLAGS
    parser.examples = (
        'val_scores.parquet --out decisions.json',
        'val_scores.parquet --out decisions.json --target precision=0.9 --calibrate '
        'per-label',
        '--priors labels_train.csv --out decisions.json',
    )
    parser.add_check(check)
    parser.add_argument(
        'dump',
        nargs='?',
        help='a score dump: .pkl, .csv or .parquet; not with --priors',
    )
    parser.add_argument(
        '--out', required=True, type=Path, help='the decision file to write, .json'
    )
    parser.add_argument(
        '--target',
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
        help='bring scores closer to probabilities by a temperature, one for all '
        'labels or one for each (default: none)',
    )
    parser.add_argument(
        '--folds',
        type=number(least=2),
        default=5,
        help='folds of cross-fitting (default: 5)',
    )
    parser.add_argument(
        '--in-sample',
        action='store_true',
        help='show metrics of the final file on the images it was made from, too; they '
        'are too good',
    )
    parser.add_argument(
        '--thr',
        type=number(float, least=0, most=1),
        default=0.5,
        help='the threshold to compare with (default: 0.5)',
    )
    parser.add_argument(
        '--bins',
        type=number(least=1),
        default=15,
        help='bins of the calibration error, of equal width (default: 15)',
    )
    parser.add_argument(
        '--resamples',
        type=number(least=1),
        default=1000,
        help='resamples of the images that intervals are made from (default: 1000)',
    )
    priors = parser.add_argument_group('without validation images')
    priors.add_argument(
        '--priors',
        metavar='LABELS',
        help='adjust logits by the priors of the labels in these training labels: a '
        'table, or another file that mlcl convert reads',
    )
    priors.add_argument(
        '--split', help='with --priors: the split of the labels, as in mlcl convert'
    )
    priors.add_argument(
        '--strength',
        type=number(float, least=0),
        default=0.5,
        help='with --priors: how much, from 0 (all thresholds are 0.5) to 1 (a '
        "threshold is its label's share of the images) or more (default: 0.5)",
    )
    add_dump_classes(parser)
    parser.add_argument(
        '--seed',
        type=number(least=0),
        default=0,
        help='seed of folds and resamples (default: 0)',
    )


def check(args: argparse.Namespace) -> None:
    """Check the name in --out, and that there is a dump or --priors."""
    if (args.dump is None) == (args.priors is None):
        raise ValueError('give either a score dump, or --priors LABELS')
    if args.split is not None and args.priors is None:
        raise ValueError('--split is about the labels of --priors')
    if args.out.suffix != '.json':
        raise ValueError(f'--out must end with .json, got {args.out}')


def decide_by_priors(args: argparse.Namespace) -> None:
    """Write and print the decisions that --priors asks for."""
    from ..datasets.forms import read_labels
    from ..evaluation.prior_decisions import prior_decisions
    from ..targets import PRESENT, UNKNOWN
    from ..text_table import table_of_rows

    labels = read_labels(args.priors, classes=args.classes, split=args.split)
    present, unknown = (
        (labels.targets == value).sum(axis=0) for value in (PRESENT, UNKNOWN)
    )
    absent = len(labels.images) - present - unknown
    decisions = prior_decisions(
        labels.classes, present.tolist(), absent.tolist(), args.strength
    )
    decisions.info.update(priors=args.priors, strength=args.strength)
    decisions.save(args.out)
    rows = [
        {
            'label': name,
            'present': f'{has:,}',
            'absent': f'{lacks:,}',
            'threshold': f'{threshold:.3f}',
        }
        for name, has, lacks, threshold in zip(
            labels.classes, present, absent, decisions.thresholds
        )
    ]
    print(table_of_rows(rows))
    print(args.out)


def run(args: argparse.Namespace) -> int:
    """Find, write and print the decisions that the command line asks for."""
    if args.priors is not None:
        decide_by_priors(args)
        return 0
    from ..evaluation.cross_fitting import DecisionRecipe
    from ..evaluation.score_dump import ScoreDump
    from ..evaluation.thresholds import ThresholdTarget
    from ..reports.decision_report import ReportOptions, decision_report
    from ..reports.decision_text import decision_text
    from ..reports.figures import reliability_figure, save_figure

    try:
        target = ThresholdTarget.parse(args.target)
    except ValueError as error:
        raise ValueError(f'--target: {error}') from error
    recipe = DecisionRecipe(target, args.per_label, args.calibrate)
    options = ReportOptions(
        thr=args.thr,
        num_folds=args.folds,
        num_bins=args.bins,
        num_resamples=args.resamples,
        seed=args.seed,
    )
    picture = args.out.with_suffix('.png')
    dump = ScoreDump.load(args.dump, args.classes)
    report = decision_report(dump, recipe, options)
    report.decisions.info['dump'] = args.dump
    report.decisions.save(args.out)
    figure = reliability_figure(report, Path(args.dump).name, len(dump.images))
    save_figure(figure, picture)
    print(decision_text(report, args.in_sample))
    print(f'{args.out}, {picture.name}')
    return 0
