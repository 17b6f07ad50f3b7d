# SPDX-License-Identifier: Apache-2.0
"""Measure the embeddings that a model gives to labels, without its classifier."""

import argparse
from pathlib import Path

from ..command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    CommandParser,
    add_cfg_options,
    add_config,
    add_trust_options,
    number,
)


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Measure the embeddings that a model gives to labels: retrieval between labels '
        'and within each of them, alignment, uniformity, a linear probe and few shots. '
        'A model with one feature for the whole image is measured with that feature as '
        'the embedding of all its labels'
    )
    parser.flags = TRUST_FLAGS | {'projected': '--projected', 'step': '--step'}
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    parser.examples = (
        'mlcl_efflite0_voc07 model.pth --out quality.json',
        'mlcl_efflite0_voc07 model.pth --step step2 --projected --split val',
    )
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', type=Path, help='the JSON file to write all values to')
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='test',
        help="the config's dataset to take images from, through the test pipeline "
        '(default: test)',
    )
    parser.add_argument(
        '--num-images',
        type=number(int, least=1),
        default=5000,
        help='the greatest number of images, taken at even distances; their '
        'embeddings are held in memory (default: 5000)',
    )
    parser.add_argument(
        '--projected',
        action='store_true',
        help="measure what the head's projector makes of the embeddings, which is what "
        'a contrastive loss sees',
    )
    parser.add_argument(
        '--step', help='the step whose model to build, in a config with steps'
    )
    parser.add_argument(
        '--shots',
        type=number(int, least=1),
        nargs='+',
        default=[1, 5, 10],
        help='present images of each label to learn from (default: 1 5 10)',
    )
    parser.add_argument(
        '--repeats',
        type=number(int, least=1),
        default=5,
        help='draws of few shots (default: 5)',
    )
    parser.add_argument(
        '--seed',
        type=number(int, least=0),
        default=0,
        help='seed of the split and draws (default: 0)',
    )
    parser.add_argument('--device', default='cpu', help='device (default: cpu)')
    add_cfg_options(parser)
    add_trust_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the measures, and write them to --out."""
    from ..engine import allow_unsafe_checkpoints, load_step_config
    from ..inference.embedding_report import measure_checkpoint

    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    cfg = load_step_config(args.config, args.cfg_options, args.step)
    report = measure_checkpoint(
        cfg,
        args.checkpoint,
        args.split,
        args.num_images,
        projected=args.projected,
        shots=args.shots,
        repeats=args.repeats,
        seed=args.seed,
        device=args.device,
        allow_other_labels=args.allow_other_labels,
    )
    print(report.to_text())
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(report.to_json(config=args.config) + '\n')
    return 0
