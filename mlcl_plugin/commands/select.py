# SPDX-License-Identifier: Apache-2.0
"""Choose the photographs to label next."""

import argparse

from ..command_line import CommandParser, number
from .issues import add_features, add_photographs, read_classes

# The flags of the library's arguments.
FLAGS = {
    'backbone': '--backbone',
    'classes': '--classes',
    'device': '--device',
    'image_size': '--image-size',
    'images': '--images',
    'number': '--number',
    'out': '--out',
    'pictures': '--pictures',
    'pool': '--pool',
    'rule': '--by',
    'seed': '--seed',
    'single': '--single',
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Choose the photographs, or single labels of them, that are worth a label. '
        'Writes a ranked table, a sheet of photographs and a table to fill in'
    )
    parser.flags = FLAGS
    parser.examples = (
        'photos/labels.csv --pool photos/new --out work_dirs/next',
        'photos/labels.csv --single --number 500 --out work_dirs/next',
    )
    add_photographs(parser)
    parser.add_argument(
        '--pool',
        metavar='DIR',
        help='a folder of photographs without labels (default: those of the table '
        'that have unknown labels)',
    )
    parser.add_argument(
        '--number',
        type=number(int, least=1),
        default=100,
        help='photographs to choose, with --single labels (default: 100)',
    )
    parser.add_argument(
        '--by',
        choices=['uncertainty', 'rare', 'diversity', 'mixed', 'clusters', 'random'],
        help='uncertainty: labels that the model cannot tell; rare: the same, of '
        'labels that few photographs have; diversity: photographs unlike all others; '
        'mixed: uncertain ones that are unlike each other; clusters: the most '
        'uncertain one of each cluster (default: clusters, with --single rare)',
    )
    parser.add_argument(
        '--single',
        action='store_true',
        help='ask for single labels of photographs instead of all their labels',
    )
    parser.add_argument(
        '--pictures',
        type=number(int, least=0),
        default=60,
        help='the most photographs on the sheet (default: 60)',
    )
    add_features(parser)


def run(args: argparse.Namespace) -> int:
    """Choose.

    Returns:
        int: 0.
    """
    from ..apis import select_images
    from ..engine import keep_memory

    keep_memory()
    select_images(
        args.source,
        args.out,
        pool=args.pool,
        number=args.number,
        rule=args.by,
        single=args.single,
        images=args.images,
        classes=read_classes(args.classes),
        pictures=args.pictures,
        backbone=args.backbone,
        image_size=args.image_size,
        device=args.device,
        seed=args.seed,
    )
    return 0
