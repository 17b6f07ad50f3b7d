# SPDX-License-Identifier: Apache-2.0
"""Find labels that are probably wrong."""

import argparse

from ..command_line import CommandParser, number

# The flags of the library's arguments.
FLAGS = {
    'at_least': '--at-least',
    'backbone': '--backbone',
    'classes': '--classes',
    'confirmed': '--confirmed',
    'device': '--device',
    'folds': '--folds',
    'group': '--group',
    'image_size': '--image-size',
    'images': '--images',
    'kind': '--kind',
    'label_wise': '--label-wise',
    'num_folds': '--folds',
    'number': '--number',
    'out': '--out',
    'pictures': '--pictures',
    'seed': '--seed',
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Find labels that are probably wrong: given but not there, or there but not '
        'given. Writes a ranked table, a sheet of photographs and changes to confirm'
    )
    parser.flags = FLAGS
    parser.examples = (
        'photos/labels.csv --out work_dirs/issues',
        'photos/labels.csv --out work_dirs/issues --confirmed '
        'work_dirs/issues/changes.csv',
    )
    add_photographs(parser)
    parser.add_argument(
        '--group',
        metavar='COLUMN',
        help='the column of a table whose values stay in one fold, such as the event',
    )
    parser.add_argument(
        '--kind',
        choices=['both', 'extra', 'missing'],
        default='both',
        help='extra: labels that are given but not there; missing: labels that are '
        'there but not given; both (default)',
    )
    parser.add_argument(
        '--confirmed',
        metavar='TABLE',
        help='change what is confirmed in this table, changes.csv of an earlier call, '
        'and do nothing else: writes a corrected copy of the labels',
    )
    parser.add_argument(
        '--at-least',
        type=float,
        default=0.9,
        metavar='SUSPICION',
        help='from here on a change is proposed (default: 0.9)',
    )
    parser.add_argument(
        '--number',
        type=number(int, least=1),
        default=1000,
        help='the most issues in the table (default: 1000)',
    )
    parser.add_argument(
        '--pictures',
        type=number(int, least=0),
        default=60,
        help='the most photographs on the sheet (default: 60)',
    )
    parser.add_argument(
        '--folds', type=number(int, least=2), default=5, help='folds (default: 5)'
    )
    parser.add_argument(
        '--label-wise',
        action='store_true',
        help='train the recipe of mlcl fit in every fold, and let neighbours in the '
        'space of its label-wise embeddings vote, too; better, and takes much longer',
    )
    add_features(parser)


def add_photographs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name photographs and the folder of the results."""
    parser.add_argument(
        'source',
        metavar='TABLE_OR_FOLDER',
        help='photographs with labels, as mlcl fit takes them, or a config, whose '
        'training images are taken',
    )
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='the folder of the results'
    )
    parser.add_argument(
        '--images', metavar='DIR', help='the folder of the images (default: looked for)'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='LABEL',
        help='the labels to look at, or a file with one per line (default: all)',
    )


def add_features(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the features that photographs are judged by."""
    parser.add_argument(
        '--backbone',
        metavar='NAME',
        help='efflite0 (default; a config has its own), timm/NAME for a model of '
        'timm, or a name of mmpretrain.list_models()',
    )
    parser.add_argument(
        '--image-size',
        type=int,
        metavar='PIXELS',
        help='width and height that images are brought to (default: 320)',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed (default: 0)')
    parser.add_argument('--device', help='device (default: a GPU, if there is one)')


def read_classes(given: list[str] | None) -> list[str] | None:
    """The names of labels, or those in a file."""
    from pathlib import Path

    from ..names_file import read_names

    if given is not None and len(given) == 1 and Path(given[0]).is_file():
        return list(read_names(given[0]))
    return given


def run(args: argparse.Namespace) -> int:
    """Find issues, or apply what was confirmed.

    Returns:
        int: 0.
    """
    from ..apis import apply_changes, find_issues
    from ..engine import keep_memory

    classes = read_classes(args.classes)
    if args.confirmed is not None:
        path, changed = apply_changes(
            args.source,
            args.confirmed,
            args.out,
            images=args.images,
            classes=classes,
            group=args.group,
        )
        print(f'{changed:,} labels changed: {path}')
        return 0
    keep_memory()
    find_issues(
        args.source,
        args.out,
        images=args.images,
        classes=classes,
        group=args.group,
        kind=args.kind,
        folds=args.folds,
        at_least=args.at_least,
        number=args.number,
        pictures=args.pictures,
        label_wise=args.label_wise,
        backbone=args.backbone,
        image_size=args.image_size,
        device=args.device,
        seed=args.seed,
    )
    return 0
