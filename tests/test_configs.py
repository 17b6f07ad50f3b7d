# SPDX-License-Identifier: Apache-2.0
"""Every recipe trains each of its steps on a few small images."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mlcl_plugin.engine import check_config, set_default_dataloader_cfg
from mlcl_plugin.engine.steps import step_config, step_names
from mlcl_plugin.models.utils import collect_targets

spec = importlib.util.spec_from_file_location(
    'config_files', Path(__file__).with_name('config_files.py')
)
config_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(config_files)

ROOT = Path(__file__).parents[1]
# Recipes for vectors are tested in test_yeast_configs.py.
VECTORS = ('cgmvae_yeast', 'linear_yeast')
RECIPES = [path for path in config_files.recipes() if path.stem not in VECTORS]


def load(path):
    cfg = Config.fromfile(path)
    if cfg.model.backbone.type == 'TIMMBackbone':
        pytest.importorskip('timm')
    return cfg


def step_configs(cfg):
    """The plain config of every training step, by name."""
    steps = {name: step_config(cfg, name) for name in step_names(cfg)}
    return steps or {'train': cfg}


def walk(value):
    """All dicts inside a config."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from walk(item)


@pytest.mark.slow
def test_losses_can_be_changed_option_by_option():
    """The resolved recipes have the losses of these heads in full.

    ``--cfg-options model.head.loss_kl.loss_weight=3`` changes one option of a loss only
    if the config has its type.
    """
    names = dict(
        SADCLHead={'loss_contrastive', 'loss_prototype'},
        CGMVAEHead={'loss', 'loss_kl', 'loss_contrastive'},
        KMCLHead={'loss', 'loss_reconstruction', 'loss_contrastive'},
    )
    found = set()
    for path in config_files.recipes():
        for part in walk(Config.fromfile(path)._cfg_dict):
            if part.get('type') in names:
                expected = names[part['type']]
                assert expected <= set(part), path
                assert all('type' in part[name] for name in expected), path
                found.add(part['type'])
    assert found == set(names)


@pytest.fixture
def images(tmp_path):
    """Four files with noise, in the usual shapes of photographs."""
    rng = np.random.default_rng(0)
    paths = []
    for number, shape in enumerate([(60, 80), (80, 60), (64, 64), (50, 90)]):
        path = tmp_path / f'{number}.png'
        cv2.imwrite(str(path), rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        paths.append(str(path))
    return paths


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Registries as in a run; the config that is logged need not be formatted."""
    init_default_scope('mmpretrain')
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )


def test_names_are_unique():
    """mim copies all recipes into one folder."""
    counts = Counter(path.name for path in config_files.config_files())
    assert [name for name, count in counts.items() if count > 1] == []
    assert len(RECIPES) >= 50


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_numbers_of_classes_agree(path):
    for name, cfg in step_configs(load(path)).items():
        num_classes = cfg.model.head.num_classes
        neck = cfg.model.get('neck') or {}
        if 'embed_dims' in neck:
            assert neck.num_classes == num_classes, name
            assert neck.embed_dims == cfg.model.head.in_channels, name
        for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            targets = [
                part['num_classes']
                for part in walk(cfg[field])
                if part.get('type') == 'LabelsToTargets'
            ]
            # without it, the head reads the list of labels
            assert set(targets) <= {num_classes}, (name, field)


# Most recipes share their pipelines. Those that were right once are not run again.
right = set()


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_pipelines(path, images):
    """Unchanged, at full size."""
    cfg = load(path)
    num_classes, img_size = cfg.model.head.num_classes, cfg.get('img_size')
    for name, step in step_configs(cfg).items():
        for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            train = field == 'train_dataloader'
            views = (step.data_preprocessor.get('num_views') or 1) if train else 1
            parts = step[field].dataset.pipeline
            key = json.dumps([parts, train, views, img_size, num_classes], default=str)
            if key in right:
                continue
            pipeline = Compose(parts)
            # several times, since augmentation is drawn from many operations
            for number in range(8 if train else 1):
                item = pipeline(dict(img_path=images[number % 4], gt_label=[1, 3]))
                inputs = item['inputs']
                if views == 1:
                    inputs = [inputs]
                assert len(inputs) == views, (name, field)
                pixels = img_size if train else cfg.get('test_size', img_size)
                if pixels is not None:
                    size = (3, pixels, pixels)
                    assert [tuple(view.shape) for view in inputs] == [size] * views
                targets = collect_targets([item['data_samples']], num_classes)
                assert targets.nonzero().tolist() == [[0, 1], [0, 3]]
            right.add(key)


class LossHook(Hook):
    """Keep the losses of every iteration, and the weights at the start."""

    def __init__(self):
        self.losses = []

    def before_train(self, runner):
        self.start = {
            name: value.flatten()[:100].clone()
            for name, value in runner.model.named_parameters()
        }

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({key: value.item() for key, value in outputs.items()})


def shrink(cfg, images, tmp_path):
    """Let a config train one iteration on two or three small images."""
    num_classes = cfg.model.head.num_classes
    ann_file = tmp_path / 'labels.json'
    labels = [[0, 1], [0, 2]]
    if (cfg.model.head.get('loss_contrastive') or {}).get('type') == VOTES:
        # one more, since a vote needs two others, with and without the label
        labels.append([0, 1])
    content = dict(
        metainfo=dict(classes=[f'label {i}' for i in range(num_classes)]),
        data_list=[
            dict(img_path=path, gt_label=label) for path, label in zip(images, labels)
        ],
    )
    ann_file.write_text(json.dumps(content))
    pipeline = cfg.train_dataloader.dataset.pipeline
    for part in walk(pipeline):
        if part.get('type') == 'RandomResizedCrop':
            part['scale'] = 64
        elif part.get('type') == 'Resize':
            part['scale'] = (64, 64)
    if not any('scale' in part for part in walk(pipeline)):
        pipeline.insert(1, dict(type='Resize', scale=(64, 64)))
    cfg.train_dataloader.update(batch_size=len(labels), num_workers=0)
    cfg.train_dataloader.dataset = dict(
        type='MultiLabelDataset', ann_file=str(ann_file), pipeline=pipeline
    )
    cfg.train_cfg.update(max_epochs=1)
    # It needs the test pipeline.
    cfg.custom_hooks = [
        hook for hook in cfg.custom_hooks if hook['type'] != 'FillNeighboursHook'
    ]
    for field in ('val', 'test'):
        for part in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{field}_{part}'] = None
    # would be gigabytes
    cfg.default_hooks.checkpoint = None
    # fills memories by the test pipeline
    cfg.custom_hooks = [
        hook for hook in cfg.custom_hooks if hook.type != 'FillNeighboursHook'
    ]
    cfg.model.backbone.init_cfg = None
    cfg.randomness = dict(seed=0)
    cfg.work_dir = str(tmp_path / 'work')
    set_default_dataloader_cfg(cfg)
    return cfg


VOTES = 'NeighbourVoteLoss'
# The losses of heads that always have more than a classification loss.
LOSSES = dict(
    SADCLHead=['loss_cls', 'loss_contrastive', 'loss_prototype'],
    CGMVAEHead=['loss_cls', 'loss_kl', 'loss_contrastive'],
    KMCLHead=['loss_cls', 'loss_reconstruction', 'loss_contrastive'],
)


def is_slow(path):
    """Networks that differ from others only by the backbone or the data.

    Every method is also trained on scenes of digits, with a small network.
    """
    others = ('_coco', '_576px', '_step1', '_voc07', '_nuswide', '_vg500')
    return path.stem.endswith(others) and path.stem != 'mlcl_efflite0_voc07'


@pytest.mark.parametrize(
    'path',
    [pytest.param(path, marks=[pytest.mark.slow] * is_slow(path)) for path in RECIPES],
    ids=lambda path: path.stem,
)
def test_trains(path, images, tmp_path):
    recipe = load(path)
    check_config(recipe)
    for name, cfg in step_configs(recipe).items():
        expected = {'loss', *LOSSES.get(cfg.model.head.type, ['loss_cls'])}
        contrast = cfg.model.head.get('loss_contrastive') is not None
        if contrast:
            expected.add('loss_contrastive')
        cfg = shrink(cfg, images, tmp_path)
        # loggers are found by this name, so that each test needs its own
        cfg.experiment_name = f'{path.stem}_{name}_{tmp_path.name}'
        hook = LossHook()
        runner = Runner.from_cfg(cfg)
        runner.register_hook(hook)
        model = runner.train()
        (losses,) = hook.losses
        assert losses.keys() == expected
        assert all(np.isfinite(value) for value in losses.values()), losses
        if contrast:
            assert losses['loss_contrastive'] > 0
        for key, value in model.named_parameters():
            assert value.isfinite().all(), key
        moved = {
            key.split('.')[0]
            for key, value in model.named_parameters()
            if not torch.equal(value.flatten()[:100], hook.start[key])
        }
        parts = {key.split('.')[0] for key, _ in model.named_parameters()}
        if cfg.get('cached_features') is not None:
            parts.remove('backbone')
        assert moved == parts
        assert 'head' in moved
