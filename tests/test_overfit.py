# SPDX-License-Identifier: Apache-2.0
"""Every recipe can memorise eight images, with its own optimizer and losses."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner

from mlcl_plugin.engine import set_default_dataloader_cfg

spec = importlib.util.spec_from_file_location(
    'config_files', Path(__file__).with_name('config_files.py')
)
config_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(config_files)

ROOT = Path(__file__).parents[1]
VECTORS = ('cgmvae_yeast', 'linear_yeast')
RECIPES = [path for path in config_files.recipes() if path.stem not in VECTORS]
SIZE = 64
# what would change an image each time
RANDOM = ('FastRandomFlip', 'RandomFlip', 'RandAugment', 'RandomApply')
# at most: training ends when all images are learned
ITERATIONS = {'step1': 200, 'step2': 200, 'train': 200}


@pytest.fixture
def annotations(tmp_path):
    """Function that writes eight images, each with labels of its own."""

    def write(num_classes):
        rng = np.random.default_rng(0)
        data_list = []
        for number in range(8):
            path = str(tmp_path / f'{number}.png')
            # coarse, so that resizing keeps the images distinct
            image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(path, image)
            labels = sorted({number, (number + 1) % 8, num_classes - 1 - number // 4})
            data_list.append(dict(img_path=path, gt_label=labels))
        content = dict(
            metainfo=dict(classes=[f'label {i}' for i in range(num_classes)]),
            data_list=data_list,
        )
        (tmp_path / 'labels.json').write_text(json.dumps(content))
        return str(tmp_path / 'labels.json')

    return write


def without_chance(pipeline):
    """A pipeline that always gives the same image, in the size of the test."""
    kept = []
    for part in pipeline:
        if part['type'] in RANDOM:
            continue
        if 'transforms' in part:
            part = dict(part, transforms=[without_chance(t) for t in part.transforms])
        if part['type'] in ('Resize', 'RandomResizedCrop'):
            part = dict(type='Resize', scale=(SIZE, SIZE))
        kept.append(part)
    return kept


def shrink(cfg, ann_file, folder):
    """Let a recipe train and test on the eight images."""
    changes = list((cfg.get('steps') or {}).items())
    for name, part in [('train', cfg), *changes]:
        loader = part.get('train_dataloader')
        if loader and 'dataset' in loader:
            pipeline = without_chance(loader.dataset.pipeline)
            dataset = dict(pipeline=pipeline)
            if part is cfg:
                dataset.update(type='MultiLabelDataset', ann_file=ann_file)
                loader.dataset = dataset
                loader.update(num_workers=0, persistent_workers=False)
            else:
                loader.dataset = dataset
        if loader:
            loader.batch_size = 8
        part.custom_hooks = [
            hook for hook in part.get('custom_hooks') or [] if hook['type'] != 'EMAHook'
        ]
        part.custom_hooks.append(
            dict(
                type='EarlyStoppingHook',
                monitor='multi-label/mAP',
                rule='greater',
                patience=1000,
                stopping_threshold=99.9,
            )
        )
        part.param_scheduler = []
        if part is not cfg or not changes:
            part.setdefault('train_cfg', {})
            part.train_cfg.update(max_epochs=ITERATIONS[name], val_interval=10)
    pipeline = without_chance(cfg.test_dataloader.dataset.pipeline)
    loader = dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='MultiLabelDataset',
            ann_file=ann_file,
            pipeline=pipeline,
            test_mode=True,
        ),
    )
    cfg.val_dataloader, cfg.test_dataloader = loader, loader
    cfg.model.backbone.init_cfg = None
    if 'img_size' in cfg.model.backbone:
        # a multiple of the patch size
        cfg.model.backbone.img_size = SIZE
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=10, max_keep_ckpts=1, save_optimizer=False
    )
    cfg.randomness = dict(seed=0)
    cfg.work_dir = str(folder)
    set_default_dataloader_cfg(cfg)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_overfits(path, annotations, tmp_path):
    cfg = Config.fromfile(path)
    if cfg.model.backbone.type == 'TIMMBackbone':
        pytest.importorskip('timm')
    init_default_scope('mmpretrain')
    ann_file = annotations(cfg.model.head.num_classes)
    cfg = shrink(cfg, ann_file, tmp_path / 'work')
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.train()
    logs = list((tmp_path / 'work').rglob('vis_data/scalars.json'))
    reached = {}
    for log in sorted(logs):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        values = [x['multi-label/mAP'] for x in lines if 'multi-label/mAP' in x]
        reached[log.relative_to(tmp_path / 'work').parts[0]] = values[-1]
    assert len(reached) == max(len(cfg.get('steps') or ()), 1)
    assert min(reached.values()) >= 99, reached
