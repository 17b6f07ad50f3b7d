# SPDX-License-Identifier: Apache-2.0
"""A photograph, and those of an index whose label is most like its label."""

import argparse
from pathlib import Path

from ...command_line import CommandParser
from ..index.query import add_query_arguments, find


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Draw a photograph above those of an index (mlcl index build) whose label is '
        'most like its label'
    )
    add_query_arguments(parser)
    parser.examples = ('train.index photo.jpg --label dog --out dogs.png',)
    parser.add_argument(
        '--out', required=True, type=Path, help='the picture to write, e.g. dogs.png'
    )


def run(args: argparse.Namespace) -> int:
    """Draw the sheet that the command line asks for.

    Returns:
        int: 0, or 1 if there is no photograph with the label.
    """
    from ...inference.index_pictures import draw_neighbours
    from ...reports.figures import save_figure

    matches = find(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(draw_neighbours(args.photo, args.label, matches), args.out)
    print(f'{args.out}: {len(matches)} photographs')
    return 0 if matches else 1
