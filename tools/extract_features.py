# SPDX-License-Identifier: Apache-2.0
"""Compute the features of a recipe's frozen backbone once, for fixed views."""

import argparse

from mlcl_plugin.apis import extract_features
from mlcl_plugin.command_line import (
    TRUST_FLAGS,
    add_cfg_options,
    add_trust_options,
    number,
    one_line_errors,
)
from mlcl_plugin.engine import allow_unsafe_checkpoints, keep_memory, load_step_config


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the features that the backbone of a config gives for views '
        'of its images. studies/compare_methods.py trains on them.'
    )
    parser.add_argument('config', help='config file path')
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
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    args = parse_args(args)
    keep_memory()
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    with one_line_errors('extract_features', TRUST_FLAGS | {'num_views': '--views'}):
        cfg = load_step_config(args.config, args.cfg_options)
        extract_features(cfg, args.out, args.views, args.checkpoint, args.seed)


if __name__ == '__main__':
    main()
