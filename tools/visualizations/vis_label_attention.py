# SPDX-License-Identifier: Apache-2.0
"""Draw which labels a model finds in images, and where it looks for each of them."""

import argparse
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mlcl_plugin.apis import build_model
from mlcl_plugin.models.utils import collect_targets
from mlcl_plugin.visualization import label_attention_maps, prediction_sheet


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
        type=int,
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
        type=float,
        default=0.5,
        help='score from which on a label is predicted (default: 0.5)',
    )
    parser.add_argument(
        '--max-labels',
        type=int,
        default=6,
        help='labels shown for an image at most (default: 6)',
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
    for name in ('num_images', 'max_labels'):
        if getattr(args, name) < 1:
            parser.error(
                f'--{name.replace("_", "-")} must be positive, got '
                f'{getattr(args, name)}'
            )
    return args


def build_dataset(cfg: Config, split: str):
    """Build a split's dataset, with the test pipeline for whatever split."""
    dataset = dict(cfg[f'{split}_dataloader'].dataset)
    dataset['pipeline'] = cfg.test_dataloader.dataset.pipeline
    return DATASETS.build(dataset)


def to_picture(inputs: torch.Tensor, bgr: bool) -> np.ndarray:
    """What the pipeline gives, ``(C, H, W)`` uint8, as ``(H, W, 3)`` RGB."""
    image = inputs.expand(3, -1, -1).permute(1, 2, 0).numpy()
    return image[..., ::-1] if bgr else image


def main(args: list[str] | None = None) -> None:
    args = parse_args(args)
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')

    model = build_model(cfg, args.checkpoint, args.device)
    dataset = build_dataset(cfg, args.split)
    num_images = min(args.num_images, len(dataset))
    chosen = np.linspace(0, len(dataset), num_images, endpoint=False).astype(int)
    bgr = bool(model.data_preprocessor.to_rgb)

    images, scores, maps, targets = [], [], [], []
    # One by one, since a pipeline may give images of different sizes.
    for item in (dataset[int(index)] for index in chosen):
        images.append(to_picture(item['inputs'], bgr))
        data = model.data_preprocessor(pseudo_collate([item]))
        score, attention = label_attention_maps(model, data['inputs'])
        scores.append(score[0].cpu())
        maps.append(attention[0].cpu())
        targets.append(collect_targets(data['data_samples'], len(score[0]), 'cpu')[0])

    classes = dataset.metainfo.get('classes') or [str(i) for i in range(len(scores[0]))]
    sheet = prediction_sheet(
        images,
        torch.stack(scores),
        maps,
        torch.stack(targets),
        classes,
        thr=args.thr,
        max_labels=args.max_labels,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(args.out)
    print(f'{args.out}: {num_images} of {len(dataset)} {args.split} images')


if __name__ == '__main__':
    main()
