# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from mlcl_plugin.engine import build_split


@pytest.fixture
def cfg(load_config):
    init_default_scope('mmpretrain')
    return load_config()


def transforms(dataset):
    return [type(transform).__name__ for transform in dataset.pipeline.transforms]


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_pipeline_is_that_of_the_test(cfg, split):
    cfg.train_dataloader.dataset.pipeline = [dict(type='LoadImage')]
    dataset = build_split(cfg, split)
    assert transforms(dataset) == ['LoadImage', 'LabelsToTargets', 'PackInputs']
    folder = 'train' if split == 'train' else 'val'
    assert Path(dataset.get_data_info(0)['img_path']).parent.name == folder
    # The config stays.
    assert len(cfg.train_dataloader.dataset.pipeline) == 1


@pytest.mark.parametrize('scope', ['', 'mmengine.'])
def test_repeats(cfg, scope):
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type=f'{scope}RepeatDataset',
        times=2,
        dataset=dict(
            type=f'{scope}ClassBalancedDataset', oversample_thr=0.5, dataset=inner
        ),
    )
    once = build_split(cfg, 'train', repeated=False)
    assert len(once) == 7 and transforms(once)[-1] == 'PackInputs'


def test_joined(cfg):
    """All get the pipeline, in wrappers as well."""
    hidden = dict(type='HideLabels', keep=0.5, dataset=cfg.val_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[cfg.train_dataloader.dataset, hidden]
    )
    cfg.train_dataloader.dataset.datasets[0].pipeline = []
    dataset = build_split(cfg, 'train')
    assert len(dataset) == 14
    for part in dataset.datasets:
        assert transforms(part) == ['LoadImage', 'LabelsToTargets', 'PackInputs']
