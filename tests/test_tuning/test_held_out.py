# SPDX-License-Identifier: Apache-2.0
from copy import deepcopy

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope

from mlcl_plugin.datasets.dataset_targets import dataset_targets
from mlcl_plugin.engine import step_config
from mlcl_plugin.tuning.held_out import hold_out, train_without


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def load(load_config, photos):
    return lambda changes=None: load_config(changes, root=photos)


def build(plain, field):
    dataset = DATASETS.build(plain[field].dataset)
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))], dataset


@pytest.mark.parametrize('step', ['step1', 'step2'])
def test_parts_are_disjoint_and_stratified(load, step):
    cfg = load()
    parts = hold_out(cfg, 0.3)
    plain = step_config(train_without(cfg, parts), step)
    trained, training = build(plain, 'train_dataloader')
    everything, _ = build(step_config(cfg, step), 'train_dataloader')
    for field in ('val_dataloader', 'test_dataloader'):
        held_out, validation = build(plain, field)
        assert held_out == parts.paths
        assert not set(trained) & set(held_out)
        assert sorted(trained + held_out) == sorted(everything)
        assert len(held_out) == round(0.3 * len(everything))
        shares = [
            np.asarray((dataset_targets(part) == 1).mean(axis=0)).ravel()
            for part in (training, validation)
        ]
        # One of 6 images.
        assert np.abs(shares[0] - shares[1]).max() < 1 / 6
    # The test pipeline: no random flip.
    assert 'RandomFlip' not in str(plain.val_dataloader.dataset.pipeline)
    assert 'Flip' in str(plain.train_dataloader.dataset.pipeline)


def test_config_is_left_alone(load):
    cfg = load()
    before = deepcopy(cfg.to_dict())
    train_without(cfg, hold_out(cfg, 0.3))
    assert cfg.to_dict() == before


def test_seed(load):
    draws = [hold_out(load(), 0.3, seed).held_out for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_only_trained_images_are_drawn_from(load):
    """Images that the config leaves out are neither trained on nor judged by."""
    parts = hold_out(load({'train_dataloader.dataset.indices': 12}), 0.25)
    assert sorted(parts.trained + parts.held_out) == list(range(12))
    assert len(parts.held_out) == 3
    chosen = [3, 5, 7, 9, 11, -1, -2, -3]
    parts = hold_out(load({'train_dataloader.dataset.indices': chosen}), 0.25)
    assert sorted(parts.trained + parts.held_out) == [3, 5, 7, 9, 11, 18, 19, 20]


def test_repeated_images(load):
    """Training repeats its images; the others are shown once."""
    inner = load().train_dataloader.dataset
    repeated = dict(_delete_=True, type='RepeatDataset', times=3, dataset=inner)
    cfg = load()
    cfg.pop('steps'), cfg.pop('runner_type')
    cfg.merge_from_dict({'train_dataloader.dataset': repeated})
    parts = hold_out(cfg, 0.3)
    made = train_without(cfg, parts)
    trained, _ = build(made, 'train_dataloader')
    assert len(trained) == 3 * len(parts.trained)
    assert build(made, 'val_dataloader')[0] == parts.paths
    assert not set(trained) & set(parts.paths)


def test_step_with_other_images(load, tiny_coco):
    cfg = load({'steps.step2.train_dataloader.dataset.data_root': f'{tiny_coco}/'})
    with pytest.raises(ValueError, match='step2 trains on other images'):
        train_without(cfg, hold_out(cfg, 0.3))


def test_joined_data_sets(load):
    cfg = load()
    joined = dict(type='ConcatDataset', datasets=[cfg.train_dataloader.dataset])
    cfg.train_dataloader.dataset = joined
    with pytest.raises(ValueError, match='ConcatDataset joins several data sets'):
        hold_out(cfg, 0.3)


def test_no_validation(load):
    cfg = load()
    parts = hold_out(cfg, 0.3)
    cfg.val_evaluator = None
    with pytest.raises(ValueError, match='the config has no val_evaluator'):
        train_without(cfg, parts)


def test_neighbours_are_not_filled(load):
    """They are filled when the last validation has been made."""
    cfg = load()
    cfg.custom_hooks.append(dict(type='FillNeighboursHook'))
    cfg.steps.step2.custom_hooks = [dict(type='FillNeighboursHook')]
    made = train_without(cfg, hold_out(cfg, 0.3))
    assert 'FillNeighboursHook' not in str(made)
    assert made.custom_hooks == cfg.custom_hooks[:-1]
