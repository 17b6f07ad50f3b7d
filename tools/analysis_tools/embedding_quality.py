# SPDX-License-Identifier: Apache-2.0
"""Measure the embeddings that a model gives to labels, without its classifier."""

import argparse
import json
import math
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from mlcl_plugin.apis import (
    build_loader,
    build_model,
    embed,
    measure_embeddings,
)
from mlcl_plugin.engine import StepwiseRunner


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure the embeddings that a model gives to labels: retrieval '
        'between labels and within each of them, alignment, uniformity, a linear probe '
        'and few shots. A model with one feature for the whole image is measured with '
        'that feature as the embedding of all its labels'
    )
    parser.add_argument('config', help='config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', type=Path, help='the JSON file to write all figures to'
    )
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='test',
        help="the config's dataset to take images from, through the test pipeline "
        '(default: test)',
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=5000,
        help='number of images at most, taken at even distances; their embeddings are '
        'held in memory (default: 5000)',
    )
    parser.add_argument(
        '--projected',
        action='store_true',
        help="measure what the head's projector makes of the embeddings, which is what "
        'a contrastive loss sees',
    )
    parser.add_argument(
        '--step', help='the step whose model to build, in a config in steps'
    )
    parser.add_argument(
        '--shots',
        type=int,
        nargs='+',
        default=[1, 5, 10],
        help='present images of each label to learn from (default: 1 5 10)',
    )
    parser.add_argument(
        '--repeats', type=int, default=5, help='draws of few shots (default: 5)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the split and draws (default: 0)'
    )
    parser.add_argument('--device', default='cpu', help='device (default: cpu)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings to override in the config, as xxx=yyy, also nested and in '
        'lists: key="[a,b]" or key="[(a,b),(c,d)]", quoted and without blanks',
    )
    args = parser.parse_args(args)
    for name, value in (
        ('num-images', args.num_images),
        ('shots', min(args.shots)),
        ('repeats', args.repeats),
    ):
        if value < 1:
            parser.error(f'--{name} must be positive, got {value}')
    if args.seed < 0:
        parser.error(f'--seed must not be negative, got {args.seed}')
    return args


def _for_json(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no nan."""
    return {k: None if math.isnan(v) else round(v, 4) for k, v in figures.items()}


def main(args: list[str] | None = None) -> None:
    args = parse_args(args)
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.step is not None:
        names = list(cfg.get('steps') or {})
        if args.step not in names:
            raise ValueError(
                f"The config has no step '{args.step}', expected one of {names}."
            )
        cfg.setdefault('work_dir', '.')
        cfg = StepwiseRunner(cfg).step_config(args.step)
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')

    model = build_model(cfg, args.checkpoint, args.device)
    loader, metainfo = build_loader(cfg, args.split, args.num_images)
    embeddings = embed(model, loader, args.projected)
    overall, classwise = measure_embeddings(
        embeddings, args.shots, args.repeats, args.seed
    )

    num_images, num_labels = embeddings.targets.shape
    print(
        f'{num_images} {args.split} images, {num_labels} labels, '
        f'{embeddings.values.size(2)} dimensions'
        + (', projected' if args.projected else '')
    )
    width = max(map(len, overall))
    for key, value in overall.items():
        print(f'{key:<{width}}  {value:8.3f}')
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
            figures=_for_json(overall),
            classwise={
                name: _for_json(figures) for name, figures in zip(names, classwise)
            },
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(content, indent=2) + '\n')


if __name__ == '__main__':
    main()
