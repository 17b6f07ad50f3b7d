# SPDX-License-Identifier: Apache-2.0
"""The recipes for Yeast train and score on a few vectors of its form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.runner import Runner

from mlcl_plugin.datasets import FeatureVectors
from mlcl_plugin.engine import set_default_dataloader_cfg

CONFIGS = Path(__file__).parents[1] / 'configs' / 'cgmvae'
LOSSES = dict(
    cgmvae_yeast={'loss', 'loss_cls', 'loss_kl', 'loss_contrastive'},
    linear_yeast={'loss', 'loss_cls'},
)


@pytest.fixture
def data_root(tmp_path):
    """103 features, of which the first 14 give the labels."""
    rng = np.random.default_rng(0)
    content = {}
    for split, number in dict(train=96, val=24, test=32).items():
        features = rng.normal(0, 0.1, (number, 103)).astype(np.float32)
        content[f'{split}_features'] = features
        content[f'{split}_labels'] = (features[:, :14] > 0).astype(np.uint8)
    np.savez(tmp_path / 'yeast.npz', **content)
    return tmp_path


class LossHook(Hook):
    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({key: value.item() for key, value in outputs.items()})


@pytest.mark.parametrize(
    'name',
    ['linear_yeast', pytest.param('cgmvae_yeast', marks=pytest.mark.slow)],
)
def test_trains_and_scores(name, data_root, tmp_path, monkeypatch):
    init_default_scope('mmpretrain')
    # the config that is logged need not be formatted
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[field].dataset.data_root = str(data_root)
        cfg[field].batch_size = 32
    cfg.train_cfg.update(max_epochs=8, val_interval=8)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = f'{name}_{tmp_path.name}'
    set_default_dataloader_cfg(cfg)
    runner = Runner.from_cfg(cfg)
    hook = LossHook()
    runner.register_hook(hook)
    model = runner.train()
    assert isinstance(runner.train_dataloader.dataset, FeatureVectors)
    assert all(losses.keys() == LOSSES[name] for losses in hook.losses)
    first, last = (
        sum(x['loss'] for x in part) for part in (hook.losses[:3], hook.losses[-3:])
    )
    assert last < first
    for key, value in model.named_parameters():
        assert value.isfinite().all(), key
    metrics = runner.test()
    # chance is 50
    assert metrics['multi-label/mAP'] > 60
    (best,) = (tmp_path / 'work').glob('best_multi-label_mAP*.pth')
    meta = torch.load(best, weights_only=False)['meta']['dataset_meta']
    assert len(meta['classes']) == 14 and len(meta['feature_mean']) == 103


@pytest.mark.parametrize('name', LOSSES)
def test_schedule_is_torchs(name):
    """CosineAnnealingWarmRestarts with T_0=50 and T_mult=2, epoch by epoch."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.train_cfg.max_epochs == 90
    rates = []
    for build in (
        lambda optimizer: PARAM_SCHEDULERS.build(
            dict(cfg.param_scheduler[0], optimizer=optimizer)
        ),
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, T_0=50, T_mult=2, eta_min=2e-4
        ),
    ):
        optimizer = torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), lr=2e-3)
        scheduler = build(optimizer)
        rates.append([])
        for _ in range(90):
            rates[-1].append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            scheduler.step()
    np.testing.assert_allclose(*rates, rtol=1e-9)
    assert rates[0][50] == 2e-3
