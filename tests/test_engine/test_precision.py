# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.config import Config

from mlcl_plugin.engine import enable_amp


def config(**optim_wrapper):
    return Config(
        dict(
            model=dict(type='ImageClassifier'),
            data_preprocessor=dict(type='MultiViewDataPreprocessor'),
            optim_wrapper=dict(optimizer=dict(type='SGD'), **optim_wrapper),
            test_cfg=dict(),
        )
    )


@pytest.fixture(params=[False, True], ids=['cpu', 'gpu'])
def gpu(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: request.param)
    return request.param


@pytest.mark.parametrize('given', [{}, dict(type='AmpOptimWrapper', loss_scale=512.0)])
def test_train(gpu, given):
    cfg = config(**given)
    enable_amp(cfg, train=True)
    wrapper = cfg.optim_wrapper.to_dict()
    assert wrapper.pop('optimizer') == dict(type='SGD')
    if gpu:
        scale = given.get('loss_scale', 'dynamic')
        assert wrapper == dict(type='AmpOptimWrapper', loss_scale=scale)
    else:
        assert wrapper == dict(type='AutocastOptimWrapper')
    assert cfg.data_preprocessor.get('channels_last', False) is not gpu
    assert cfg.test_cfg == {}


def test_test(gpu):
    cfg = config()
    enable_amp(cfg, train=False)
    assert cfg.test_cfg == dict(fp16=True)
    assert 'type' not in cfg.optim_wrapper
    assert cfg.data_preprocessor.get('channels_last', False) is not gpu


def test_choices_of_the_config_stay(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = config()
    cfg.data_preprocessor.channels_last = False
    enable_amp(cfg, train=True)
    assert cfg.data_preprocessor.channels_last is False

    cfg = config()
    cfg.model.data_preprocessor = cfg.pop('data_preprocessor')
    enable_amp(cfg, train=True)
    assert cfg.model.data_preprocessor.channels_last is True

    # MMPretrain's own takes no such argument.
    cfg = config()
    cfg.data_preprocessor.type = 'ClsDataPreprocessor'
    enable_amp(cfg, train=True)
    assert 'channels_last' not in cfg.data_preprocessor


def test_other_wrapper(gpu):
    with pytest.raises(ValueError, match="optim_wrapper.type='ApexOptimWrapper'"):
        enable_amp(config(type='ApexOptimWrapper'), train=True)
