# SPDX-License-Identifier: Apache-2.0
"""Label-wise embeddings of an index as a map, coloured by label."""

import argparse
from pathlib import Path

from ...command_line import CommandParser, number

METHODS = ('tsne', 'pca')


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Draw the embeddings of labels that are present in the photographs of an index '
        '(mlcl index build) as a map, coloured by label'
    )
    parser.flags = {'thr': '--thr', 'method': '--method'}
    parser.examples = ('train.index --out map.png',)
    parser.add_argument('index', help='the folder of the index')
    parser.add_argument(
        '--out', required=True, type=Path, help='the picture to write, e.g. map.png'
    )
    parser.add_argument(
        '--method',
        choices=METHODS,
        default=METHODS[0],
        help='tsne (default), by scikit-learn, or pca, the two principal axes',
    )
    parser.add_argument(
        '--max-points',
        type=number(int, least=1),
        default=3000,
        help='largest number of embeddings, a random part of more (default: 3000)',
    )
    parser.add_argument(
        '--max-labels',
        type=number(int, least=1),
        default=20,
        help='largest number of labels that are named (default: 20)',
    )
    parser.add_argument(
        '--thr',
        type=number(float, least=0, most=1),
        default=0.5,
        help='the lowest score with which a photograph that is not annotated has a '
        'label (default: 0.5)',
    )
    parser.add_argument(
        '--seed', type=number(least=0), default=0, help='seed (default: 0)'
    )


def run(args: argparse.Namespace) -> int:
    """Draw the map that the command line asks for."""
    from ...inference.index_pictures import draw_map
    from ...inference.label_index import LabelIndex
    from ...reports.figures import save_figure

    index = LabelIndex.load(args.index)
    figure = draw_map(
        index, args.max_points, args.max_labels, args.method, args.thr, args.seed
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, args.out)
    print(args.out)
    return 0
