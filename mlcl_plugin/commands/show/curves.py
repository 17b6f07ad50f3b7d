# SPDX-License-Identifier: Apache-2.0
"""Losses and validation mAP of a training, and where its steps end."""

import argparse
from pathlib import Path

from ...command_line import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Draw the losses and the validation mAP that a training has logged, with the '
        'border of its steps'
    )
    parser.examples = ('work_dirs/mlcl_efflite0_voc07 --out curves.png',)
    parser.add_argument(
        'work_dir',
        metavar='WORK_DIR',
        type=Path,
        help='the work folder of mlcl train, or the folder --out of mlcl fit',
    )
    parser.add_argument(
        '--out', required=True, type=Path, help='the picture to write, e.g. curves.png'
    )


def run(args: argparse.Namespace) -> int:
    """Draw the curves that the command line asks for."""
    from ...plain_text import printable
    from ...reports.figures import save_figure
    from ...reports.page import read_work_folder
    from ...visualization.training_curves import read_training, training_figure

    training = read_training(read_work_folder(args.work_dir).rows)
    title = printable(args.work_dir.absolute().name)
    figure = training_figure(training, title)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, args.out)
    print(args.out)
    return 0
