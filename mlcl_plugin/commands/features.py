# SPDX-License-Identifier: Apache-2.0
"""Compute the features of a recipe's frozen backbone once, for fixed views."""

import argparse

from ..command_line import (
    TRUST_FLAGS,
    CommandParser,
    add_cfg_options,
    add_config,
    add_trust_options,
    number,
)


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Write the features that the backbone of a config gives for views of its '
        'images. studies/compare_methods.py trains on them.'
    )
    parser.flags = TRUST_FLAGS | {'num_views': '--views'}
    parser.examples = (
        'mlcl_efflite0_voc07 features/voc07',
        'mlcl_efflite0_voc07 features/voc07 --views 4 --checkpoint model.pth',
    )
    add_config(parser)
    parser.add_argument('out', help='the folder to write to')
    parser.add_argument(
        '--checkpoint', help="weights (default: those the config's backbone has)"
    )
    parser.add_argument(
        '--views',
        type=number(int, least=1),
        default=8,
        help='views of a training image (default: 8)',
    )
    parser.add_argument(
        '--seed',
        type=number(int, least=0),
        default=0,
        help='seed of the views (default: 0)',
    )
    add_cfg_options(parser)
    add_trust_options(parser, labels=False)


def run(args: argparse.Namespace) -> int:
    """Compute the features that the command line asks for."""
    from ..engine import (
        allow_unsafe_checkpoints,
        extract_features,
        keep_memory,
        load_step_config,
    )

    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    cfg = load_step_config(args.config, args.cfg_options)
    extract_features(cfg, args.out, args.views, args.checkpoint, args.seed)
    return 0
