# SPDX-License-Identifier: Apache-2.0
"""Draw which labels a model finds in images, and where it looks for each of them."""

import argparse
from pathlib import Path

from mmengine.registry import init_default_scope

from mlcl_plugin.apis import build_model
from mlcl_plugin.command_line import (
    TRUST_FLAGS,
    USER_ERRORS,
    add_cfg_options,
    add_trust_options,
    number,
    one_line_errors,
)
from mlcl_plugin.engine import allow_unsafe_checkpoints, load_step_config
from mlcl_plugin.inference.attention_sheet import attend
from mlcl_plugin.visualization import prediction_sheet


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw which labels a model with a LabelAttentionNeck finds in '
        'images of its dataset, and where it looks for each of them'
    )
    parser.add_argument('config', help='config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', required=True, type=Path, help='the picture to write, e.g. sheet.png'
    )
    parser.add_argument(
        '--num-images',
        type=number(int, least=1),
        default=8,
        help='number of images, taken at even distances (default: 8)',
    )
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='test',
        help="the config's dataset to take images from (default: test)",
    )
    parser.add_argument(
        '--thr',
        type=number(float),
        default=0.5,
        help='score from which on a label is predicted (default: 0.5)',
    )
    parser.add_argument(
        '--max-labels',
        type=number(int, least=1),
        default=6,
        help='the greatest number of labels shown for an image (default: 6)',
    )
    parser.add_argument('--device', default='cpu', help='device (default: cpu)')
    add_cfg_options(parser)
    add_trust_options(parser)
    return parser.parse_args(args)


def draw(args: argparse.Namespace) -> None:
    cfg = load_step_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')

    model = build_model(cfg, args.checkpoint, args.device)
    attended = attend(model, cfg, args.split, args.num_images, args.allow_other_labels)
    sheet = prediction_sheet(
        attended.images,
        attended.scores,
        attended.maps,
        attended.targets,
        attended.classes,
        thr=args.thr,
        max_labels=args.max_labels,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(args.out)
    print(f'{args.out}: {len(attended.images)} of {attended.total} {args.split} images')


def main(args: list[str] | None = None) -> None:
    args = parse_args(args)
    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    # torch raises RuntimeError for a device that does not exist.
    errors = (*USER_ERRORS, RuntimeError)
    with one_line_errors('vis_label_attention', TRUST_FLAGS, errors):
        draw(args)


if __name__ == '__main__':
    main()
