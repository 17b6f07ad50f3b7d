# SPDX-License-Identifier: Apache-2.0
"""Trainings on cached features, from images to checkpoints."""

import shutil
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS

from mlcl_plugin.engine import (
    CachedFeatures,
    CheckedRunner,
    StepwiseRunner,
    build_runner,
    freeze_backbone,
    step_config,
)
from mlcl_plugin.engine.hooks import StoredBackboneHook
from mlcl_plugin.errors import CheckpointError
from mlcl_plugin.inference import MultiLabelInferencer, fit_neighbours

FROZEN = dict(custom_keys=dict(backbone=dict(lr_mult=0.0)))
CHANGES = {
    'cached_features': dict(num_views=2),
    'optim_wrapper.paramwise_cfg': FROZEN,
    'train_cfg.max_epochs': 1,
}


@pytest.fixture
def load(load_config):
    """Function that gives the config of a tiny run on cached features."""

    def load(changes=None, steps=True):
        cfg = load_config(CHANGES | (changes or {}))
        if not steps:
            cfg.pop('steps'), cfg.pop('runner_type')
        return cfg

    return load


def filling(load):
    """A run that ends with neighbours."""
    cfg = load(
        {
            'model.type': 'NeighbourClassifier',
            'model.neighbours': [
                dict(type='LabelNeighbours'),
                dict(type='ImageNeighbours'),
            ],
        }
    )
    fill = dict(type='FillNeighboursHook')
    cfg.steps.step2.custom_hooks = [*deepcopy(cfg.custom_hooks), fill]
    return cfg


def load_state(path):
    return torch.load(path, weights_only=False)['state_dict']


def folder_of(cfg):
    """The folder of the cached features."""
    (folder,) = Path(cfg.work_dir, 'features').iterdir()
    return folder


def predict(cfg, checkpoint, work_dir):
    """Scores of the test images by a checkpoint."""
    cfg = deepcopy(cfg)
    cfg.update(load_from=str(checkpoint), work_dir=str(work_dir))
    runner = CheckedRunner.from_cfg(cfg)
    kept = []
    (metric,) = runner.test_evaluator.metrics
    metric.process = lambda data_batch, data_samples: kept.extend(
        sample['pred_score'] for sample in data_samples
    )
    metric.evaluate = lambda size: {}
    runner.test()
    return torch.stack(kept)


def test_result_is_an_ordinary_model(load, tmp_path):
    """It takes images, and gives what the training on features gives up to rounding."""
    cfg = filling(load)
    build_runner(cfg).train()
    step2 = Path(cfg.work_dir, 'step2')
    for name in ('step1/epoch_1.pth', 'step2/epoch_1.pth', 'step2/neighbours.pth'):
        state = load_state(Path(cfg.work_dir, name))
        assert 'backbone.conv1.weight' in state and 'head.classifier.weight' in state

    # The memory is the one that the images give.
    fitted = fit_neighbours(
        step_config(cfg, 'step2'), step2 / 'epoch_1.pth', device='cpu'
    )
    expected, found = (
        load_state(fitted.checkpoint),
        load_state(step2 / 'neighbours.pth'),
    )
    assert expected.keys() == found.keys()
    assert found['neighbours.0.keys'].shape[1] == 7
    for name, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-2)
        else:
            assert torch.equal(found[name], value), name

    # The config beside it is the recipe of images, without steps.
    written = Config.fromfile(step2 / 'neighbours.py')
    assert written.model.backbone.type == 'ResNet'
    assert 'steps' not in written and 'cached_features' not in written
    checkpoint = step2 / 'neighbours.pth'
    on_images = predict(written, checkpoint, tmp_path / 'images')
    frozen = freeze_backbone(written, folder_of(cfg))
    on_features = predict(frozen, checkpoint, tmp_path / 'stored')
    assert (on_images - on_features).abs().max() < 2e-3
    assert (on_images[0] - on_images[1]).abs().max() > 1e-4
    # Other tools take it, too.
    inferencer = MultiLabelInferencer(
        str(step2 / 'neighbours.py'), str(checkpoint), device='cpu'
    )
    dataset = DATASETS.build(written.test_dataloader.dataset)
    path = dataset.get_data_info(3)['img_path']
    (result,) = inferencer(path, return_scores=True)
    found = torch.tensor(list(result['scores'].values()))
    torch.testing.assert_close(found, on_images[3], rtol=0, atol=1e-4)


def test_same_as_training_on_the_files(load, tmp_path):
    """Steps on cached features equal those of the studies on the same files."""
    cfg = load()
    build_runner(cfg).train()
    by_hand = freeze_backbone(cfg, folder_of(cfg))
    by_hand.pop('cached_features')
    by_hand.work_dir = str(tmp_path / 'by_hand')
    StepwiseRunner(by_hand).train()
    for step in ('step1', 'step2'):
        expected = load_state(tmp_path / f'by_hand/{step}/epoch_1.pth')
        found = load_state(Path(cfg.work_dir, step, 'epoch_1.pth'))
        assert {n for n in found if n not in expected} == {
            n for n in found if n.startswith('backbone.')
        }
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


def test_without_steps(load, tmp_path):
    """A plain config trains on features, and is tested on images by the same runner."""
    cfg = load(steps=False)
    runner = build_runner(cfg)
    runner.train()
    assert 'backbone.conv1.weight' in load_state(Path(cfg.work_dir, 'epoch_1.pth'))
    cfg.load_from = str(Path(cfg.work_dir, 'epoch_1.pth'))
    cfg.work_dir = str(tmp_path / 'test')
    assert 'multi-label/mAP' in build_runner(cfg).test()


def test_without_validation(load):
    cfg = load(steps=False)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    build_runner(cfg).train()
    assert not list(folder_of(cfg).glob('val*'))


@pytest.mark.slow
def test_resume(load, record, tmp_path):
    """A run that was interrupted gives what an uninterrupted one gives."""
    cfg = load({'train_cfg.max_epochs': 2})
    whole = deepcopy(cfg)
    whole.work_dir = str(tmp_path / 'whole')
    build_runner(whole).train()
    for stop_at in (('step1', 1), ('step2', 1)):
        record.stop_at = stop_at
        with pytest.raises(record.Interruption):
            build_runner(cfg).train()
        cfg.resume = True
    # The backbone comes from the checkpoint, and fits the same features.
    record.stop_at = None
    build_runner(cfg).train()
    expected = load_state(tmp_path / 'whole/step2/epoch_2.pth')
    found = load_state(Path(cfg.work_dir, 'step2/epoch_2.pth'))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    folder_of(cfg)


def test_start_from_weights(load, tmp_path):
    """The features are those of the backbone of a checkpoint to start from."""
    cfg = load(steps=False)
    torch.manual_seed(3)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    cfg.load_from = str(tmp_path / 'model.pth')
    build_runner(cfg).train()
    found = load_state(Path(cfg.work_dir, 'epoch_1.pth'))
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(found[f'backbone.{name}'], value)


def test_other_backbone_in_a_checkpoint(load):
    """Weights that do not fit the features are not trained on."""
    cfg = load()
    build_runner(cfg).train()
    path = Path(cfg.work_dir, 'step1/epoch_1.pth')
    checkpoint = torch.load(path, weights_only=False)
    hook = StoredBackboneHook(torch.nn.Conv2d(1, 1, 1), cfg)
    with pytest.raises(CheckpointError, match="its weight 'backbone.* differs"):
        hook.after_load_checkpoint(SimpleNamespace(_load_from=path), checkpoint)


def test_backbones_that_are_the_same():
    """Also in less precision, or as a part of a larger network."""
    backbone = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    with torch.no_grad():
        backbone[0].weight.fill_(0.5)
        backbone[0].bias.fill_(0.25)
    hook = StoredBackboneHook(backbone, Config({}))
    state = {f'backbone.{k}': v.half() for k, v in backbone.state_dict().items()}
    state.pop('backbone.1.num_batches_tracked')
    state |= {'backbone.fc.weight': torch.ones(1), 'head.fc.weight': torch.ones(2)}
    runner = SimpleNamespace(_load_from='x.pth')
    checkpoint = dict(state_dict=dict(state))
    hook.after_load_checkpoint(runner, checkpoint)
    assert list(checkpoint['state_dict']) == ['head.fc.weight']
    # A head alone is loaded, too.
    hook.after_load_checkpoint(runner, checkpoint)
    for name in ('backbone.0.bias', 'backbone.1.running_var'):
        for change in ({name: torch.full((2,), 7.0)}, {}):
            other = {k: v for k, v in state.items() if k != name} | change
            with pytest.raises(CheckpointError, match=f"its weight '{name}' differs"):
                hook.after_load_checkpoint(runner, dict(state_dict=other))


def cfg_of(load, change):
    cfg = load(steps=False)
    cfg.merge_from_dict(change)
    return cfg


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'optim_wrapper.paramwise_cfg': None}, 'trains the backbone.*lr_mult=0.0'),
        (
            {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.1},
            'trains the backbone',
        ),
        ({'model.backbone.norm_eval': False}, 'norm_eval=False updates'),
        (
            {'data_preprocessor.batch_augments': dict(augments=[dict(type='Mixup')])},
            'batch_augments mixes images',
        ),
        (
            {'model.train_cfg': dict(augments=[dict(type='CutMix')])},
            'model.train_cfg.augments mixes images',
        ),
        (
            {
                'optim_wrapper.paramwise_cfg.custom_keys': {
                    'backbone': dict(lr_mult=0.0),
                    'backbone.layer2': dict(decay_mult=0.0),
                }
            },
            "trains a part of the backbone: .*'backbone.layer2' without lr_mult=0.0",
        ),
        ({'data_preprocessor.num_views': 3}, r'num_views=3, but .* makes 1 view\(s\)'),
        ({'cached_features.num_views': 0}, 'num_views must be an integer of 1 or more'),
        ({'cached_features.num_views': True}, 'num_views must be .*, got True'),
        ({'cached_features.seed': '0'}, "seed must be an integer of 0 .*, got '0'"),
        ({'cached_features.dir': 3}, 'dir must be a path or None, got 3'),
        ({'cached_features.views': 2}, "some of .*'num_views'"),
    ],
)
def test_what_cannot_be(load, change, message):
    with pytest.raises(ValueError, match=message):
        build_runner(cfg_of(load, change)).train()


def test_views_of_another_kind(load):
    cfg = load()
    pipeline = cfg.steps.step2.train_dataloader.dataset.pipeline
    assert pipeline[2].type == 'MultiView'
    pipeline[2].transforms[0][0].prob = 0.7
    with pytest.raises(ValueError, match='pipeline in .*_step2 makes other views'):
        build_runner(cfg).train()


def test_each_step_may_freeze_the_backbone(load):
    cfg = load()
    cfg.optim_wrapper.pop('paramwise_cfg')
    for step in cfg.steps.values():
        step.optim_wrapper = dict(step.get('optim_wrapper') or {}, paramwise_cfg=FROZEN)
    assert CachedFeatures.from_config(cfg) == CachedFeatures(num_views=2)


def fine_tuning(load):
    """Step 1 on features, step 2 on images with all weights, then neighbours."""
    cfg = filling(load)
    cfg.steps.step2.cached_features = None
    cfg.steps.step2.optim_wrapper = dict(
        paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5)))
    )
    return cfg


def test_last_step_on_images(load):
    """It starts from step 1, trains the backbone, and fills the memories with it."""
    cfg = fine_tuning(load)
    build_runner(cfg).train()
    first, second, filled = (
        load_state(Path(cfg.work_dir, name))
        for name in ('step1/epoch_1.pth', 'step2/epoch_1.pth', 'step2/neighbours.pth')
    )
    name = 'backbone.conv1.weight'
    assert torch.isfinite(second[name]).all()
    assert not torch.equal(first[name], second[name])
    assert torch.equal(filled[name], second[name])
    assert filled['neighbours.0.keys'].shape[1] == 7
    # Nothing of step 2 is computed once.
    assert CachedFeatures.from_config(cfg) == CachedFeatures(num_views=2)
    (folder,) = Path(cfg.work_dir, 'features').iterdir()


def test_resume_of_a_step_on_images(load):
    """No features are computed for it."""
    cfg = fine_tuning(load)
    build_runner(cfg).train()
    shutil.rmtree(folder_of(cfg))
    cfg.resume = True
    cfg.load_from = str(Path(cfg.work_dir, 'step2/epoch_1.pth'))
    cfg.steps.step2.train_cfg = dict(max_epochs=2)
    build_runner(cfg).train()
    assert Path(cfg.work_dir, 'step2/epoch_2.pth').is_file()
    assert list(Path(cfg.work_dir, 'features').iterdir()) == []


@pytest.mark.parametrize(
    ('steps', 'message'),
    [
        (dict(step1=None), 'step on features comes after one on images.*_step2'),
        (dict(step1=None, step2=None), 'has no effect: each step'),
        (dict(step2=dict(num_views=3)), 'All steps share the features.*_step2'),
    ],
)
def test_steps_with_their_own_settings(load, steps, message):
    cfg = load()
    for name, content in steps.items():
        cfg.steps[name].cached_features = content
    with pytest.raises(ValueError, match=message):
        build_runner(cfg).train()


def test_more_views_than_are_cached(load):
    cfg = load({'steps.step2.data_preprocessor.num_views': 3})
    cfg.steps.step2.train_dataloader.dataset.pipeline[2].num_views = [3]
    with pytest.raises(ValueError, match='makes 3 views .*_step2 .*num_views=2'):
        build_runner(cfg).train()


def test_several_views_from_the_start(load, record):
    """A config without steps may make several views of each image."""
    cfg = load()
    cfg.train_dataloader = cfg.steps.step2.train_dataloader | dict(
        batch_size=4, sampler=cfg.train_dataloader.sampler
    )
    cfg.model.data_preprocessor = dict(cfg.data_preprocessor, num_views=2)
    cfg.pop('data_preprocessor')
    cfg.pop('steps'), cfg.pop('runner_type')
    build_runner(cfg).train()
    assert np.load(folder_of(cfg) / 'train.npy').shape[:2] == (7, 2)


def test_the_step_is_named(load):
    cfg = load()
    cfg.steps.step2.optim_wrapper.paramwise_cfg = dict(_delete_=True)
    with pytest.raises(ValueError, match='trains the backbone in .*_step2'):
        build_runner(cfg).train()


def test_other_runners_refuse(load):
    with pytest.raises(ValueError, match='cached_features has no effect'):
        CheckedRunner.from_cfg(load(steps=False)).train()
