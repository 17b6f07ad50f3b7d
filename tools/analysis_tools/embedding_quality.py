# SPDX-License-Identifier: Apache-2.0
"""Measure the embeddings that a model gives to labels, without its classifier."""

import argparse
import json
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from mlcl_plugin.apis import (
    build_loader,
    build_model,
    embed,
    measure_embeddings,
)
from mlcl_plugin.command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    add_trust_options,
    number,
    one_line_errors,
)
from mlcl_plugin.engine import allow_unsafe_checkpoints, step_config
from mlcl_plugin.inference.embedding_measures import format_values, values_for_json

FLAGS = TRUST_FLAGS | {'projected': '--projected', 'step': '--step'}


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure the embeddings that a model gives to labels: retrieval '
        'between labels and within each of them, alignment, uniformity, a linear probe '
        'and few shots. A model with one feature for the whole image is measured with '
        'that feature as the embedding of all its labels'
    )
    parser.add_argument('config', help='config file path')
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings to override in the config, as xxx=yyy, also nested and in '
        'lists: key="[a,b]" or key="[(a,b),(c,d)]", quoted and without blanks',
    )
    add_trust_options(parser)
    return parser.parse_args(args)


def measure(args: argparse.Namespace) -> None:
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.step is not None:
        cfg = step_config(cfg, args.step)
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')

    model = build_model(cfg, args.checkpoint, args.device)
    loader, metainfo = build_loader(cfg, args.split, args.num_images)
    embeddings = embed(model, loader, args.projected, args.allow_other_labels)
    overall, classwise = measure_embeddings(
        embeddings, args.shots, args.repeats, args.seed
    )

    num_images, num_labels = embeddings.targets.shape
    print(
        f'{num_images} {args.split} images, {num_labels} labels, '
        f'{embeddings.values.size(2)} dimensions'
        + (', projected' if args.projected else '')
    )
    print(format_values(overall))
    if args.out is not None:
        names = metainfo.get('classes') or [str(i) for i in range(num_labels)]
        content = dict(
            config=args.config,
            checkpoint=args.checkpoint,
            split=args.split,
            num_images=num_images,
            num_labels=num_labels,
            dimensions=embeddings.values.size(2),
            projected=args.projected,
            seed=args.seed,
            repeats=args.repeats,
            figures=values_for_json(overall),
            classwise={
                name: values_for_json(values) for name, values in zip(names, classwise)
            },
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(content, indent=2) + '\n')


def main(args: list[str] | None = None) -> None:
    args = parse_args(args)
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    # torch raises RuntimeError for a device that does not exist.
    with one_line_errors('embedding_quality', FLAGS, (*USER_ERRORS, RuntimeError)):
        measure(args)


if __name__ == '__main__':
    main()
