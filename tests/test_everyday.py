# SPDX-License-Identifier: Apache-2.0
"""Every recipe of docs/everyday.md trains on a few images."""

import copy
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.engine import build_runner, check_config

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'everyday.md').read_text()
TITLES = re.findall(r'^\*\*(.*?)\*\*(?=(?:(?!^\*\*).)*?```python)', PAGE, re.M | re.S)
RECIPES = re.findall(r'^```python\n(.*?)^```', PAGE, re.M | re.S)
LABELS = ['cat', 'dog', 'cow']


@pytest.fixture
def folder(tmp_path):
    """A copy of the recipe for photographs with its data."""
    pytest.importorskip('timm')
    init_default_scope('mmpretrain')
    photos = tmp_path / 'photos'
    (photos / 'images').mkdir(parents=True)
    rows = ['image,' + ','.join(LABELS)]
    rng = np.random.default_rng(0)
    for number, labels in enumerate(['1,0,0', '1,1,0', '0,1,1', '0,0,1']):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f'images/{number}.png'), pixels)
        rows.append(f'{number}.png,{labels}')
    for name in ('labels_train.csv', 'labels_val.csv'):
        (photos / name).write_text('\n'.join(rows) + '\n')
    configs = tmp_path / 'configs' / 'mlcl'
    configs.mkdir(parents=True)
    (tmp_path / 'configs' / '_base_').symlink_to(ROOT / 'configs' / '_base_')
    text = (ROOT / 'configs/mlcl/mlcl_efflite0_tabular.py').read_text()
    for old, new in {
        'num_classes = 20': 'num_classes = 3',
        "'data/photos/'": repr(f'{photos}/'),
        'epochs_step2 = 4, 2': 'epochs_step2 = 1, 1',
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (configs / 'photos.py').write_text(text)
    return configs


def load(folder, recipe):
    path = folder / 'recipe.py'
    path.write_text(recipe)
    cfg = Config.fromfile(path)
    cfg.work_dir = str(folder / 'work')
    return cfg


def save_trained(cfg, labels):
    """Save a model of a config for other labels."""
    model = copy.deepcopy(cfg.model)
    model.backbone.pop('init_cfg', None)
    for part in (model.neck, model.head):
        part.num_classes = len(labels)
    meta = dict(dataset_meta=dict(classes=labels))
    state = MODELS.build(model).state_dict()
    torch.save(dict(meta=meta, state_dict=state), 'trained.pth')


def test_all_are_found():
    assert len(TITLES) == len(RECIPES) > 10


@pytest.mark.parametrize('recipe', RECIPES, ids=TITLES)
def test_builds(recipe, folder):
    cfg = load(folder, recipe)
    check_config(cfg)
    cfg.model.backbone.pop('init_cfg', None)
    MODELS.build(cfg.model)


@pytest.mark.slow
@pytest.mark.parametrize('recipe', RECIPES, ids=TITLES)
def test_trains(recipe, folder, monkeypatch):
    monkeypatch.chdir(folder)
    cfg = load(folder, recipe)
    if 'trained.pth' in recipe:
        save_trained(cfg, ['cow', 'cat'])
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    for name in cfg.get('steps') or {}:
        cfg.steps[name].setdefault('train_dataloader', {}).update(batch_size=2)
    build_runner(cfg).train()
    assert list((folder / 'work').rglob('epoch_1.pth'))
    logs = [path.read_text() for path in (folder / 'work').rglob('*.log')]
    kept = "trained.pth, 2 labels are kept, new are ['dog']."
    assert any(kept in log for log in logs) is ('LabelsByNameHook' in recipe)
