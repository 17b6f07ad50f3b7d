# SPDX-License-Identifier: Apache-2.0
"""Write one HTML file about a training, which opens without a network."""

import argparse
from pathlib import Path

from ..command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    CommandParser,
    add_trust_options,
    number,
)


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Write one HTML file about a training, which opens without a network: settings '
        'in words, curves, a table of labels, precision against recall, calibration, '
        'confused pairs, worst and best images, data check, environment, and how to do '
        'it again. What is not in the folder is listed as missing. Without --score and '
        '--attention, nothing of the folder is executed and no checkpoint is opened'
    )
    parser.flags = TRUST_FLAGS | {'score': '--score', 'attention': '--attention'}
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    parser.examples = (
        'work_dirs/photos',
        'work_dirs/mlcl_efflite0_voc07 --score test --attention --out report.html',
    )
    parser.add_argument(
        'work_dir',
        metavar='WORK_DIR',
        help='the work folder of mlcl train, or the folder --out of mlcl fit',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='the HTML file to write (default: report.html in the folder)',
    )
    parser.add_argument(
        '--scores',
        nargs='+',
        default=[],
        metavar='FILE',
        help='score dumps of mlcl test --out (default: those in the folder)',
    )
    parser.add_argument(
        '--decisions',
        metavar='FILE',
        help='thresholds of mlcl thresholds (default: decisions.json in the folder)',
    )
    parser.add_argument(
        '--score',
        choices=['val', 'test'],
        help='score these images of the config first, and write the dump into the '
        'folder',
    )
    parser.add_argument(
        '--attention',
        action='store_true',
        help='draw where the network looks for labels of the worst and best images',
    )
    parser.add_argument(
        '--num-images',
        type=number(int, least=0, most=20),
        default=6,
        help='images in each list, of the worst and of the best (default: 6)',
    )
    parser.add_argument(
        '--resamples',
        type=number(int, least=1),
        default=1000,
        help='resamples of the images for intervals (default: 1000)',
    )
    parser.add_argument(
        '--seed', type=number(least=0), default=0, help='seed of the draws (default: 0)'
    )
    parser.add_argument(
        '--device', help='where to run the model (default: a GPU, if there is one)'
    )
    add_trust_options(parser, labels=False)


def run(args: argparse.Namespace) -> int:
    """Write the page that the command line asks for."""
    from ..apis import write_report
    from ..engine import allow_unsafe_checkpoints

    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    page, missing = write_report(
        args.work_dir,
        args.out,
        scores=args.scores,
        decisions=args.decisions,
        score=args.score,
        attention=args.attention,
        num_images=args.num_images,
        num_resamples=args.resamples,
        seed=args.seed,
        device=args.device,
    )
    for text in missing:
        print(f'missing: {text}')
    print(page)
    return 0
