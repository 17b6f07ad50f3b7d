# SPDX-License-Identifier: Apache-2.0
"""How like the prototypes of labels in an index are."""

import argparse
from pathlib import Path

from ...command_line import CommandParser, number


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Draw the cosines between prototypes of labels: the means of their embeddings '
        'in the photographs of an index (mlcl index build) that have them'
    )
    parser.flags = {'thr': '--thr'}
    parser.examples = ('train.index --out prototypes.png',)
    parser.add_argument('index', help='the folder of the index')
    parser.add_argument(
        '--out',
        required=True,
        type=Path,
        help='the picture to write, e.g. prototypes.png',
    )
    parser.add_argument(
        '--max-labels',
        type=number(int, least=1),
        default=80,
        help='largest number of labels, the most frequent ones (default: 80)',
    )
    parser.add_argument(
        '--thr',
        type=number(float, least=0, most=1),
        default=0.5,
        help='the lowest score with which a photograph that is not annotated has a '
        'label (default: 0.5)',
    )


def run(args: argparse.Namespace) -> int:
    """Draw the matrix that the command line asks for."""
    from ...inference.index_pictures import draw_prototypes
    from ...inference.label_index import LabelIndex
    from ...reports.figures import save_figure

    index = LabelIndex.load(args.index)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(draw_prototypes(index, args.max_labels, args.thr), args.out)
    print(args.out)
    return 0
