# SPDX-License-Identifier: Apache-2.0
"""Give a trained model the memories of its training images, for better scores."""

import argparse

from ..command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    CommandParser,
    add_cfg_options,
    add_config,
    add_trust_options,
    number,
)

KINDS = {'label': 'LabelNeighbours', 'image': 'ImageNeighbours'}
FLAGS = {
    'out': '--out',
    'weights': '--weights',
    'choose_on': '--choose-on',
    'dims': '--dims',
    'prototypes': '--prototypes',
    **TRUST_FLAGS,
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Fill memories with the training images of a trained model. The nearest images '
        'vote on the labels of an image, and the votes are blended with the scores of '
        'the model. Writes a checkpoint and a config for mlcl test and mlcl infer'
    )
    parser.flags = FLAGS
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    parser.examples = (
        'mlcl_efflite0_voc07 model.pth --choose-on val',
        'mlcl_efflite0_voc07 model.pth --out neighbours.pth '
        '--neighbours label --weights 0.3 0.7',
    )
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        help='the checkpoint to write, e.g. neighbours.pth; the config has the same '
        'name with .py (default: NAME_neighbours.pth beside the checkpoint NAME.pth)',
    )
    parser.add_argument(
        '--neighbours',
        nargs='+',
        choices=KINDS,
        help='embeddings of labels, pooled features of images, or both (default: those '
        "of the config's model; without any, label where the head has embeddings of "
        'labels, else image)',
    )
    blend = parser.add_mutually_exclusive_group()
    blend.add_argument(
        '--weights',
        type=number(float, least=0, most=1),
        nargs='+',
        help='weights of the scores of the model and of each memory, which sum to 1 '
        '(default: 0.3 0.7 for label, 0.5 0.5 for image, 0.2 0.5 0.3 for label image)',
    )
    blend.add_argument(
        '--choose-on',
        choices=['held-out', 'val'],
        help='choose the weights by mAP on images that were not trained on: those that '
        'train_dataloader.dataset.indices leaves out, or those of val_dataloader, if '
        'the test images are others',
    )
    parser.add_argument(
        '--temperature',
        type=number(float, least=1e-6),
        help='divisor of cosines (default: 0.05)',
    )
    parser.add_argument(
        '--num-neighbours',
        type=number(int, least=1),
        help='entries that vote, where every entry is stored (default: 1000 of labels, '
        '100 of images)',
    )
    parser.add_argument(
        '--dims',
        type=number(int, least=1),
        help='project vectors to so many principal axes (default: no projection)',
    )
    parser.add_argument(
        '--storage',
        choices=['float16', 'int8'],
        help='type of a stored number (default: float16)',
    )
    stored = parser.add_mutually_exclusive_group()
    stored.add_argument(
        '--prototypes',
        type=number(int, least=1),
        nargs=2,
        metavar=('PRESENT', 'ABSENT'),
        help='store so many centres of present and of absent entries per label '
        '(default: 32 64 of labels, every image of images)',
    )
    stored.add_argument(
        '--every-entry',
        action='store_true',
        help='store every entry, also of labels, which takes far more memory and time',
    )
    parser.add_argument(
        '--source',
        choices=['embeddings', 'projections', 'backbone'],
        help='what is compared: what the head classifies, what its projector makes of '
        'it, or pooled features of the backbone (default: embeddings of labels, '
        'backbone for images)',
    )
    parser.add_argument(
        '--step', help='the step whose model to take, in a config with steps'
    )
    parser.add_argument('--device', help='device (default: a GPU, if there is one)')
    add_cfg_options(parser)
    add_trust_options(parser)


def memory_options(args: argparse.Namespace) -> dict:
    """The options that all memories get."""
    names = (
        'temperature',
        'num_neighbours',
        'dims',
        'storage',
        'prototypes',
        'source',
    )
    found = {name: getattr(args, name) for name in names}
    options = {name: value for name, value in found.items() if value is not None}
    return options | (dict(prototypes=None) if args.every_entry else {})


def check_number(args: argparse.Namespace, neighbours: list[dict]) -> None:
    """Refuse a number of neighbours where centres vote.

    Raises:
        ValueError: If they do.
    """
    centres = any(
        # None of the config keeps every entry.
        item['type'] == KINDS['label'] and item.get('prototypes', ()) is not None
        for item in neighbours
    )
    if args.num_neighbours and not args.every_entry and (centres or args.prototypes):
        raise ValueError(
            f'--num-neighbours {args.num_neighbours} chooses among single entries, but '
            'centres are stored, which all vote. Leave it out, or add --every-entry.'
        )


def run(args: argparse.Namespace) -> int:
    """Fill the memories that the command line asks for."""
    from ..engine import allow_unsafe_checkpoints, keep_memory, load_step_config
    from ..inference import fit_neighbours
    from ..inference.fit_neighbours import find_neighbours

    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    cfg = load_step_config(args.config, args.cfg_options, args.step)
    if args.neighbours is None:
        neighbours = find_neighbours(cfg)
    else:
        neighbours = [dict(type=KINDS[kind]) for kind in args.neighbours]
    check_number(args, neighbours)
    neighbours = [item | memory_options(args) for item in neighbours]
    fitted = fit_neighbours(
        cfg,
        args.checkpoint,
        args.out,
        neighbours,
        args.weights,
        args.choose_on,
        args.device,
        args.allow_other_labels,
    )
    weights = ', '.join(f'{weight:g}' for weight in fitted.weights)
    print(f'wrote {fitted.checkpoint} and {fitted.config}, weights {weights}')
    return 0
