# SPDX-License-Identifier: Apache-2.0
"""Embed the labels of photographs and write an index of them."""

import argparse
from pathlib import Path

from ...command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    CommandParser,
    add_config,
    add_trust_options,
    number,
)


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Embed the labels of photographs and write an index of them. Embeddings take '
        'two bytes for each label, dimension and photograph'
    )
    parser.flags = TRUST_FLAGS | {
        'inputs': 'PHOTOGRAPHS',
        'split': '--split',
        'out': '--out',
        'overwrite': '--overwrite',
    }
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    parser.examples = (
        'mlcl_efflite0_voc07 model.pth photos/ --out photos.index',
        'mlcl_efflite0_voc07 model.pth --split train --out train.index',
    )
    parser.add_check(check)
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'inputs',
        nargs='*',
        metavar='PHOTOGRAPHS',
        help='files, folders and patterns of photographs',
    )
    parser.add_argument(
        '--out', required=True, type=Path, metavar='DIR', help='the folder of the index'
    )
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        help="in place of photographs: those of the config's data set, with their "
        'annotation',
    )
    parser.add_argument(
        '--recursive', action='store_true', help='also take folders inside of folders'
    )
    parser.add_argument(
        '--projected',
        action='store_true',
        help="store what the head's projector makes of the embeddings, which is what a "
        'contrastive loss sees',
    )
    parser.add_argument(
        '--batch-size',
        type=number(int, least=1),
        help='photographs at a time (default: as in the test of the config)',
    )
    parser.add_argument(
        '--workers',
        type=number(int, least=0),
        default=0,
        help='processes that read photographs (default: 0, this one)',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace an index that is there'
    )
    parser.add_argument(
        '--device', help='where to run (default: a GPU, if there is one)'
    )
    add_trust_options(parser, labels=False)


def check(args: argparse.Namespace) -> None:
    """Check that there is one source of photographs."""
    if bool(args.inputs) == (args.split is not None):
        raise ValueError('expected PHOTOGRAPHS or --split, one of both')


def run(args: argparse.Namespace) -> int:
    """Write the index that the command line asks for."""
    from ...apis import build_index
    from ...engine import allow_unsafe_checkpoints

    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    index = build_index(
        args.config,
        args.checkpoint,
        args.out,
        args.inputs or None,
        split=args.split,
        recursive=args.recursive,
        projected=args.projected,
        batch_size=args.batch_size,
        num_workers=args.workers,
        device=args.device,
        overwrite=args.overwrite,
    )
    print(
        f'{args.out}: {len(index.images):,} photographs, {len(index.classes)} labels, '
        f'{index.embeddings.shape[2]} dimensions, {index.embeddings.nbytes / 1e6:,.1f} '
        'MB'
    )
    return 0
