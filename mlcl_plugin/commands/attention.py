# SPDX-License-Identifier: Apache-2.0
"""Draw which labels a model finds in images, and where it looks for each of them."""

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
        'Draw which labels a model with a LabelAttentionNeck finds in images of its '
        'dataset, and where it looks for each of them'
    )
    parser.flags = TRUST_FLAGS
    # torch raises RuntimeError for a device that does not exist.
    parser.errors = (*USER_ERRORS, RuntimeError)
    parser.examples = (
        'mlcl_efflite0_voc07 model.pth --out sheet.png',
        'mlcl_efflite0_voc07 model.pth --out sheet.png --split val --thr 0.3',
    )
    add_config(parser)
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
        help='the greatest number of labels shown for an image, on a page of each '
        'group (default: 6)',
    )
    parser.add_argument(
        '--layout',
        choices=['sheet', 'page'],
        default='sheet',
        help='sheet: a row for each image, with the labels found and missed; page: the '
        'present labels of each image against the absent ones with the highest scores '
        '(default: %(default)s)',
    )
    parser.add_argument('--device', default='cpu', help='device (default: cpu)')
    add_cfg_options(parser)
    add_trust_options(parser)


def run(args: argparse.Namespace) -> int:
    """Draw the sheet that the command line asks for."""
    from mmengine.registry import init_default_scope

    from ..engine import allow_unsafe_checkpoints, load_step_config
    from ..inference import build_model
    from ..inference.attention_sheet import attend
    from ..reports.figures import save_figure
    from ..visualization import attention_page, prediction_sheet

    allow_unsafe_checkpoints(args.allow_unsafe_checkpoint)
    cfg = load_step_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')

    model = build_model(cfg, args.checkpoint, args.device)
    attended = attend(model, cfg, args.split, args.num_images, args.allow_other_labels)
    draw = prediction_sheet if args.layout == 'sheet' else attention_page
    sheet = draw(
        attended.images,
        attended.scores,
        attended.maps,
        attended.targets,
        attended.classes,
        thr=args.thr,
        max_labels=args.max_labels,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(sheet, args.out)
    print(f'{args.out}: {len(attended.images)} of {attended.total} {args.split} images')
    return 0
