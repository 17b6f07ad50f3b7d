# SPDX-License-Identifier: Apache-2.0
"""Find the photographs whose label is most like that of a photograph."""

import argparse
from pathlib import Path

from ...command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    CommandParser,
    add_trust_options,
    number,
)


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Find the photographs of an index whose dog, for instance, is most like the '
        'dog of a photograph. Prints similarity, score and name. Of a photograph that '
        'is not in the index, --model computes the embedding'
    )
    add_query_arguments(parser)
    parser.examples = (
        'photos.index photos/rex.jpg --label dog',
        'photos.index new.jpg --label dog --model mlcl_efflite0_voc07 model.pth '
        '--sheet dogs.png',
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='the JSON file to write, too'
    )
    parser.add_argument(
        '--sheet', type=Path, metavar='FILE', help='the picture to write, too'
    )


def add_query_arguments(parser: CommandParser) -> None:
    """Add what says which photographs are looked for."""
    parser.flags = TRUST_FLAGS | {
        'label': '--label',
        'number': '--number',
        'engine': '--engine',
    }
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    parser.add_argument('index', help='the folder of the index')
    parser.add_argument('photo', help='the photograph')
    parser.add_argument('--label', required=True, help='the label')
    parser.add_argument(
        '--number',
        type=number(int, least=1),
        default=10,
        help='the greatest number of photographs (default: 10)',
    )
    parser.add_argument(
        '--model',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='the model that made the index, for a photograph that is not in it',
    )
    parser.add_argument(
        '--all',
        action='store_true',
        help='search photographs without the label, too',
    )
    parser.add_argument(
        '--thr',
        type=number(float, least=0, most=1),
        default=0.5,
        help='the lowest score with which a photograph that is not annotated has the '
        'label (default: 0.5)',
    )
    parser.add_argument(
        '--engine',
        choices=['torch', 'faiss'],
        default='torch',
        help='what searches; both are exact (default: torch)',
    )
    parser.add_argument(
        '--device', help='where to run the model (default: a GPU, if there is one)'
    )
    add_trust_options(parser, labels=False)


def find(args: argparse.Namespace):
    """Find what the command line asks for."""
    from ...apis import LabelEmbedder, LabelIndex, query_index
    from ...engine import allow_unsafe_checkpoints

    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    index = LabelIndex.load(args.index)
    index.label(args.label)
    embedder = None
    if args.model is not None and index.place(args.photo) is None:
        config, checkpoint = args.model
        projected = bool(index.info.get('projected'))
        embedder = LabelEmbedder(config, checkpoint, args.device, projected)
    return query_index(
        index,
        args.photo,
        args.label,
        args.number,
        embedder=embedder,
        having=not args.all,
        thr=args.thr,
        engine=args.engine,
    )


def run(args: argparse.Namespace) -> int:
    """Print the photographs that the command line asks for.

    Returns:
        int: 0, or 1 if there is no photograph with the label.
    """
    import json

    from ...plain_text import printable

    matches = find(args)
    for match in matches:
        print(f'{match.similarity:.4f}  {match.score:.2f}  {printable(match.image)}')
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        content = [match._asdict() for match in matches]
        args.json.write_text(json.dumps(content, indent=1) + '\n')
    if args.sheet is not None:
        from ...inference.index_pictures import draw_neighbours
        from ...reports.figures import save_figure

        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        save_figure(draw_neighbours(args.photo, args.label, matches), args.sheet)
    if not matches:
        print(f'No other photograph of the index has the label {args.label!r}.')
    return 0 if matches else 1
