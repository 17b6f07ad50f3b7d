# SPDX-License-Identifier: Apache-2.0
"""Search for the settings of a config that score best on held-out training images."""

import argparse

from ..command_line import (
    TRUST_FLAGS,
    CommandParser,
    add_cfg_options,
    add_config,
    add_key_values,
    add_trust_options,
    number,
)

FLAGS = {
    'cfg_options': '--cfg-options',
    'choices': '--choice',
    'out': '--out',
    'ranges': '--range',
    'seed': '--seed',
    'share': '--share',
    'trials': '--trials',
    **TRUST_FLAGS,
}


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Search for the settings of a config that give the best mAP. Trials train on '
        'a part of the training images and are judged by the others; validation and '
        'test images are not read. Writes a config for mlcl train'
    )
    parser.flags = FLAGS
    parser.examples = (
        'mlcl_efflite0_voc07_frozen --out work_dirs/tuned '
        '--range optim_wrapper.optimizer.lr=1e-5:1e-2:log',
        'my_config.py --out work_dirs/tuned --trials 40 '
        '--range train_dataloader.batch_size=16:64:int '
        '--choice model.neck.num_heads=2,4,8',
    )
    add_config(parser)
    parser.add_argument(
        '--out',
        required=True,
        metavar='DIR',
        help='the folder of the search; the same command goes on with a search that '
        'is there',
    )
    add_key_values(
        parser,
        '--range',
        'KEY=LOW:HIGH[:log|:int]',
        'numbers to draw settings from, by dotted key as in --cfg-options; log: on a '
        'logarithmic scale; int: integers',
    )
    add_key_values(
        parser,
        '--choice',
        'KEY=A,B,C',
        'values to choose settings from; lists in brackets: key="[(1,2),(3,4)]"',
    )
    parser.add_argument(
        '--trials',
        type=number(int, least=1),
        default=20,
        help='number of trials (default: 20)',
    )
    parser.add_argument(
        '--share',
        type=number(float, least=0, most=1),
        default=0.2,
        help='the share of the training images that trials are judged by (default: '
        '0.2)',
    )
    parser.add_argument(
        '--seed',
        type=number(int, least=0),
        default=0,
        help='seed of the images that are held out and of the values (default: 0)',
    )
    parser.add_argument(
        '--no-prune',
        action='store_true',
        help='train every trial to its end; without this, from the sixth on a trial is '
        'stopped if half of the complete ones were better after as many validations',
    )
    add_cfg_options(parser)
    add_trust_options(parser)
    parser.add_check(check)


def check(args: argparse.Namespace) -> None:
    """Check that there is something to search, before the imports."""
    if not args.range and not args.choice:
        raise ValueError('give at least one setting to search, by --range or --choice')


def run(args: argparse.Namespace) -> int:
    """Search.

    Returns:
        int: 0.
    """
    from ..apis import tune
    from ..engine import allow_unsafe_checkpoints, keep_memory

    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    options = dict(args.cfg_options or {})
    if args.allow_other_labels:
        options['allow_other_labels'] = True
    tune(
        args.config,
        args.out,
        args.range,
        args.choice,
        trials=args.trials,
        share=args.share,
        seed=args.seed,
        prune=not args.no_prune,
        cfg_options=options,
    )
    return 0
