# SPDX-License-Identifier: Apache-2.0
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mlcl_plugin.engine import CheckedRunner
from mlcl_plugin.engine.hooks import EvalModeHook


def make_model():
    model = nn.Module()
    model.backbone = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model.neck = nn.BatchNorm1d(2)
    return model


def test_only_the_part():
    model = make_model()
    EvalModeHook().before_train_iter(SimpleNamespace(model=model), 0)
    modes = {name: part.training for name, part in model.named_modules()}
    assert modes == {
        '': True,
        'backbone': False,
        'backbone.0': False,
        'backbone.1': False,
        'neck': True,
    }


def test_unknown_part():
    runner = SimpleNamespace(model=make_model())
    EvalModeHook('backbone.0').before_train(runner)
    message = "no part 'bakbone'. It has backbone, neck."
    with pytest.raises(ValueError, match=re.escape(message)):
        EvalModeHook(['neck', 'bakbone']).before_train(runner)


def test_statistics_stay_over_epochs(load_config):
    """Also after validations, which set the mode of the whole model."""
    kept = []
    for hooks in ([], [dict(type='EvalModeHook')]):
        cfg = load_config()
        cfg.pop('steps'), cfg.pop('runner_type')
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), *hooks]
        cfg.work_dir += str(len(hooks))
        runner = CheckedRunner.from_cfg(cfg)
        norms = [
            module
            for module in runner.model.backbone.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        before = [norm.running_mean.clone() for norm in norms]
        runner.train()
        after = [norm.running_mean for norm in norms]
        kept.append(all(map(torch.equal, before, after)) and len(norms) > 0)
    assert kept == [False, True]
