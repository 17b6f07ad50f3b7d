# SPDX-License-Identifier: Apache-2.0
"""Largest differences between exported recipes and torch on real photographs.

Weights of necks and heads are random; EfficientNet-Lite0 has its ImageNet weights.
Other backbones have random weights and smaller images, which the table names.

    python benchmarks/export_agreement.py --images data/VOCdevkit/VOC2007/JPEGImages
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import quiet

from mlcl_plugin.engine import base_config, innermost_dataset, load_config
from mlcl_plugin.export import export_model
from mlcl_plugin.inference.config import config_scope
from mlcl_plugin.models import NeighbourClassifier

CONFIGS = Path(__file__).parents[1] / 'configs'
RECIPES = {
    'mlcl_efflite0_voc07': None,
    'mlcl/mlcl_efflite0_voc07_frozen': None,
    'query2label/query2label_efflite0_voc07': None,
    'ml_decoder/ml_decoder_efflite0_voc07': None,
    'sadcl/sadcl_efflite0_voc07': None,
    'csra/csra_efflite0_voc07': None,
    'baselines/gap_efflite0_voc07': None,
    'baselines/gmp_efflite0_voc07': None,
    'kmcl/kmcl_efflite0_voc07': None,
    'image_level/image_level_any_efflite0_voc07': None,
    'cgmvae/cgmvae_efflite0_voc07': None,
    'mile/mile_efflite0_voc07': None,
    'ml_decoder/ml_decoder_r101_coco': 128,
    'mlcl_r101_coco': 128,
    'mlcl/mlcl_convnext-t_coco': 128,
    'mlcl/mlcl_swin-s_coco': 128,
    'mlcl/mlcl_vit-b-dinov2_coco': 112,
}
"""Recipes, and the size of their images where it is not the recipe's own."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True, help='folder of photographs')
    parser.add_argument('--num-images', type=int, default=32)
    parser.add_argument('--formats', nargs='+', default=['onnx', 'pt2'])
    parser.add_argument('--recipes', nargs='+', default=list(RECIPES))
    return parser.parse_args()


def make_model(name: str, size: int | None, folder: Path):
    """The config of a recipe, and a checkpoint of weights that are not trivial."""
    from mmpretrain.registry import MODELS

    torch.manual_seed(0)
    cfg = base_config(load_config(CONFIGS / f'{name}.py'))
    if size is not None:
        dataset = innermost_dataset(cfg.test_dataloader.dataset)
        for item in dataset['pipeline']:
            if item['type'] == 'Resize':
                item['scale'] = (size, size)
        if 'img_size' in cfg.model.backbone:
            cfg.model.backbone.img_size = size
    backbone = cfg.model.backbone
    if (backbone.get('init_cfg') or {}).get('type') == 'Pretrained':
        backbone.init_cfg = None
    with config_scope(cfg):
        preprocessor = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
        model = MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))
        with contextlib.redirect_stdout(sys.stderr):
            model.init_weights()
    model.eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.startswith('backbone.'):
                value.add_(0.02 * torch.randn_like(value))
        if isinstance(model, NeighbourClassifier):
            vectors = model.vectors(torch.randn(16, 3, 224, 224))
            targets = torch.randint(0, 2, (16, cfg.model.head.num_classes))
            for memory, own in zip(model.memories, vectors):
                memory.fill(own, targets)
    path = folder / 'model.pth'
    classes = [f'label {number}' for number in range(cfg.model.head.num_classes)]
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return cfg, path


def main() -> None:
    args = parse_args()
    quiet()
    print(f'| recipe | px | format | {" | ".join(map(str, (1, 3, 7)))} | MB | s |')
    print('|---|---|---|---|---|---|---|---|')
    for format in args.formats:
        for name in args.recipes:
            with tempfile.TemporaryDirectory() as folder:
                cfg, checkpoint = make_model(name, RECIPES.get(name), Path(folder))
                out = Path(folder) / f'model.{format}'
                start = time.perf_counter()
                cells = ['', format]
                try:
                    exported = export_model(
                        cfg,
                        checkpoint,
                        out,
                        format,
                        images=args.images,
                        num_images=args.num_images,
                    )
                    cells += [f'{x:.1e}' for x in exported.differences.values()]
                    cells.append(f'{out.stat().st_size / 1e6:.0f}')
                except ValueError as error:
                    cells += ['', '', '', f'{error}']
                cells[0] = str(RECIPES.get(name) or 'own')
                seconds = f'{time.perf_counter() - start:.0f}'
                print(f'| `{name}` | {" | ".join(cells)} | {seconds} |', flush=True)


if __name__ == '__main__':
    main()
