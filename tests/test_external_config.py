# SPDX-License-Identifier: Apache-2.0
"""Configs outside of this repository, with MMPretrain's backbones and datasets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

ROOT = Path(__file__).parents[1]
CLASSES = ['cat', 'dog', 'owl', 'cow']
LABELS = [[0, 2], [1], [], [0, 1, 3]]

TEMPLATE = """
{base}
custom_imports = dict(imports=['mlcl_plugin'], allow_failed_imports=False)
default_scope = 'mmpretrain'
work_dir = {work_dir!r}

model = dict(
    type='ImageClassifier',
    backbone={backbone!r},
    neck=dict(type='LabelAttentionNeck', num_classes=4, embed_dims=32, **{neck!r}),
    head=dict(
        type='LabelWiseClsHead',
        num_classes=4,
        in_channels=32,
        loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
        projector=dict(out_channels=8)))
data_preprocessor = dict(mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MultiLabelDataset',
        data_root={root!r},
        ann_file='labels.json',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=64),
            dict(type='PackInputs')]))
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.001))
train_cfg = dict(by_epoch=True, max_epochs=1)
"""

RESNET = dict(type='ResNet', depth=50, stem_channels=8, base_channels=8)
VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
    img_size=64,
    patch_size=16,
)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
    img_size=64,
    window_size=2,
)
MODELS = {
    'resnet50': (RESNET, dict(in_channels=256)),
    'vit_featmap': (dict(VIT, out_type='featmap'), dict(in_channels=32)),
    # the class token comes first
    'vit_raw': (dict(VIT, out_type='raw'), dict(in_channels=32, num_extra_tokens=1)),
    'swin': (SWIN, dict(in_channels=64)),
}


@pytest.fixture
def write_config(tmp_path, monkeypatch):
    """Function that writes images, labels and a config."""
    # MMEngine formats the config for its log, which is slow.
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )

    def write(name, base=''):
        rng = np.random.default_rng(0)
        data_list = []
        for number, labels in enumerate(LABELS):
            img = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / f'{number}.png'), img)
            data_list.append(dict(img_path=f'{number}.png', gt_label=labels))
        content = dict(metainfo=dict(classes=CLASSES), data_list=data_list)
        (tmp_path / 'labels.json').write_text(json.dumps(content))
        backbone, neck = MODELS[name]
        # MMEngine keeps loggers by the name of the config.
        path = tmp_path / f'{tmp_path.name}_{name}.py'
        path.write_text(
            TEMPLATE.format(
                base=base,
                work_dir=str(tmp_path / 'work'),
                root=str(tmp_path),
                backbone=dict(backbone, init_cfg=None),
                neck=dict(neck, num_heads=2, num_blocks_before=1),
            )
        )
        return path

    return write


@pytest.mark.parametrize('name', MODELS)
def test_trains(write_config, tmp_path, name):
    runner = Runner.from_cfg(Config.fromfile(write_config(name)))
    runner.train()
    (log,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    (losses,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert np.isfinite(losses['loss_cls'])
    assert losses['loss_contrastive'] > 0
    checkpoint = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())
    assert checkpoint['meta']['dataset_meta']['classes'] == CLASSES


def test_base_of_mmpretrain(write_config, tmp_path):
    base = "_base_ = ['mmpretrain::_base_/default_runtime.py']"
    cfg = Config.fromfile(write_config('vit_featmap', base))
    assert cfg.default_hooks.visualization.type == 'VisualizationHook'
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'work/epoch_1.pth').is_file()


@pytest.mark.slow
def test_in_a_new_process(write_config, tmp_path):
    """Nothing but the config imports the plugin."""
    config = write_config('resnet50')
    code = (
        'from mmengine.config import Config\n'
        'from mmengine.runner import Runner\n'
        f'cfg = Config.fromfile({str(config)!r})\n'
        'Runner.from_cfg(cfg).train()\n'
    )
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env=dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=path.strip(os.pathsep)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / 'work/epoch_1.pth').is_file()
