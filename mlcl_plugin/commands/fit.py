# SPDX-License-Identifier: Apache-2.0
"""Train a model on your photographs, find thresholds, and say how good it is."""

import argparse
from pathlib import Path

from ..command_line import CommandParser, add_cfg_options
from ..fit_folder import check_fit_folder

# The flags of the library's arguments.
FLAGS = {
    'backbone': '--backbone',
    'classes': '--classes',
    'device': '--device',
    'epochs': '--epochs',
    'group': '--group',
    'image_size': '--image-size',
    'images': '--images',
    'out': '--out',
    'plain': '--plain',
    'recipe': '--recipe',
    'resume': '--resume',
    'seed': '--seed',
    'test': '--test',
    'time': '--time',
    'val': '--val',
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Train a model on your photographs, find thresholds, and say how good it is'
    )
    parser.flags = FLAGS
    parser.examples = (
        'photos/labels.csv --out work_dirs/photos',
        'photos/ --val 0.3 --test more_photos/ --time 10m --out work_dirs/photos',
    )
    parser.add_argument(
        'source',
        metavar='TABLE_OR_FOLDER',
        help='a table (csv, tsv, parquet), a JSON in the form of COCO or MMPretrain, a '
        'folder in the form of VOC, one with metadata.jsonl, or one with a folder of '
        'images for each label',
    )
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='the folder of the results'
    )
    parser.add_argument(
        '--val',
        metavar='TABLE|SHARE',
        help='validation images, or their share of the images (default: those of the '
        'split column or folder, or else 0.2)',
    )
    parser.add_argument('--test', metavar='TABLE', help='test images (default: none)')
    parser.add_argument(
        '--images', metavar='DIR', help='the folder of the images (default: looked for)'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='LABEL',
        help='the labels to learn, or a file with one per line (default: all)',
    )
    parser.add_argument(
        '--group',
        metavar='COLUMN',
        help='the column of a table whose values stay together when validation images '
        'are drawn, such as the event or the camera',
    )
    parser.add_argument(
        '--recipe',
        choices=['auto', 'frozen', 'full'],
        default='auto',
        help='frozen: train on features that are computed once; full: the whole '
        'network; auto (default): full with a GPU and 2,000 images or more',
    )
    parser.add_argument(
        '--backbone',
        default='efflite0',
        metavar='NAME',
        help='efflite0 (default), timm/NAME for a model of timm, or a name of '
        'mmpretrain.list_models()',
    )
    parser.add_argument(
        '--image-size',
        type=int,
        metavar='PIXELS',
        help='width and height that images are brought to (default: 320 for a frozen '
        'backbone, else 224)',
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        '--epochs', type=int, help='epochs of step 1 (default: as the images need)'
    )
    length.add_argument(
        '--time', metavar='10m', help='about how long all may take, such as 90s or 1h'
    )
    parser.add_argument('--plain', action='store_true', help='train without contrast')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of division and training (default: 0)'
    )
    parser.add_argument('--device', help='device (default: a GPU, if there is one)')
    parser.add_argument(
        '--resume', action='store_true', help='go on with the fit in --out'
    )
    add_cfg_options(parser)
    parser.add_check(check)


def check(args: argparse.Namespace) -> None:
    """Check that --out has no other fit, before the imports, which take seconds."""
    check_fit_folder(Path(args.out), args.resume)


def run(args: argparse.Namespace) -> int:
    """Fit.

    Returns:
        int: 0.
    """
    from ..apis import fit
    from ..engine import keep_memory
    from ..fit.options import read_time
    from ..names_file import read_names

    keep_memory()
    classes = args.classes
    if classes is not None and len(classes) == 1 and Path(classes[0]).is_file():
        classes = read_names(classes[0])
    fit(
        args.source,
        args.out,
        val=args.val,
        test=args.test,
        images=args.images,
        classes=classes,
        group=args.group,
        recipe=args.recipe,
        backbone=args.backbone,
        image_size=args.image_size,
        epochs=args.epochs,
        time=None if args.time is None else read_time(args.time),
        plain=args.plain,
        seed=args.seed,
        device=args.device,
        resume=args.resume,
        cfg_options=args.cfg_options,
    )
    return 0
