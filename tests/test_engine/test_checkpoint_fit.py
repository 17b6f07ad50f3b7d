# SPDX-License-Identifier: Apache-2.0
"""The function by itself. By the hook: test_checkpoint_check_hook.py."""

import numpy as np
import pytest
import torch
from torch import nn

from mlcl_plugin.engine import fit_checkpoint
from mlcl_plugin.engine.checkpoint_fit import check_some_fit
from mlcl_plugin.errors import CheckpointError


def make_model():
    return nn.ModuleDict(dict(neck=nn.Linear(3, 4), head=nn.Linear(4, 2)))


def changed(value):
    """A checkpoint where one weight is another value."""
    return dict(state_dict=dict(make_model().state_dict(), **{'head.bias': value}))


def test_bare_weights():
    """They get a ``state_dict``; surplus weights stay in it."""
    state = make_model().state_dict()
    checkpoint = dict(state, surplus=torch.zeros(1))
    assert fit_checkpoint(make_model(), checkpoint, 'file.pth') is None
    assert checkpoint['state_dict'].keys() == {*state, 'surplus'}


def test_prefix_of_a_wrapper():
    state = make_model().state_dict()
    checkpoint = dict(state_dict={f'module.{k}': v for k, v in state.items()}, meta={})
    fit_checkpoint(nn.DataParallel(make_model()), checkpoint, 'file.pth')
    assert checkpoint['state_dict'].keys() == state.keys()
    assert checkpoint['meta'] == {}


@pytest.mark.parametrize('optional', [[], ['neck.'], ('neck.', 'head.bias')])
def test_optional(monkeypatch, optional):
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.checkpoint_fit.print_log',
        lambda text, logger: logged.append(text),
    )
    model = make_model()
    own = {key: value.clone() for key, value in model.state_dict().items()}
    head = {k: v + 1 for k, v in own.items() if k.startswith('head.')}
    checkpoint = dict(state_dict=dict(head))
    if not optional:
        with pytest.raises(ValueError, match=r'^file.pth does not fit .*2 of its 4 we'):
            fit_checkpoint(model, checkpoint, 'file.pth', optional)
        return
    fit_checkpoint(model, checkpoint, 'file.pth', optional)
    for key, value in checkpoint['state_dict'].items():
        torch.testing.assert_close(value, head.get(key, own[key]), rtol=0, atol=0)
    assert checkpoint['state_dict'].keys() == own.keys()
    assert logged == [
        f'neck.{name} starts fresh: it is not in the checkpoint.'
        for name in ('bias', 'weight')
    ]


def test_another_shape():
    checkpoint = changed(torch.zeros(3))
    with pytest.raises(ValueError, match=r'1 of its 4 .*, e.g. head.bias\. Use'):
        fit_checkpoint(make_model(), checkpoint, 'file.pth', ['head.'])


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('text', 'is a str, expected a tensor'),
        (None, 'is a NoneType, expected a tensor'),
        ([0.0, 0.0], 'is a list, expected a tensor'),
        (np.zeros(2, np.float32), 'is a numpy.ndarray, expected a tensor'),
        (np.float64(3), 'is a numpy.float64, expected a tensor'),
        (torch.zeros(2, dtype=torch.int64), 'type torch.int64, expected torch.float32'),
        (torch.zeros(2, dtype=torch.bool), 'type torch.bool, expected torch.float32'),
        (torch.zeros(2, dtype=torch.complex64), 'type torch.complex64, expected'),
        (torch.eye(2).to_sparse(), 'torch.sparse_coo, expected a dense tensor'),
        (torch.tensor([0.0, torch.nan]), 'has 1 of 2 values that are nan or infinite'),
        (torch.tensor([torch.inf, -torch.inf]), 'has 2 of 2 values that are nan or'),
    ],
)
@pytest.mark.parametrize('check', [fit_checkpoint, check_some_fit])
def test_values_that_no_model_can_use(check, value, message):
    """They are refused before the model takes any weight."""
    model = make_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=rf"^file.pth cannot be .*weight 'head.bias' .*{message}"
    ):
        check(model, changed(value), 'file.pth')
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_values_that_are_right():
    """Half precision, masks of -inf, and integers where the model has them."""
    model = make_model()
    model.register_buffer('mask', torch.tensor([0.0, -torch.inf]))
    model.register_buffer('memory', torch.zeros(3, dtype=torch.int32))
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in model.state_dict().items()
    }
    fit_checkpoint(model, dict(state_dict=state), 'file.pth')


@pytest.mark.parametrize(
    ('checkpoint', 'message'),
    [
        (dict(state_dict=[1]), "'state_dict' is a list, expected a dict"),
        (dict(state_dict=None), "'state_dict' is a NoneType, expected a dict"),
        (dict(state_dict={1: torch.ones(1)}), 'expected names of weights, got 1'),
        (dict(state_dict={}, meta=[1]), "'meta' is a list, expected a dict"),
    ],
)
@pytest.mark.parametrize('check', [fit_checkpoint, check_some_fit])
def test_other_forms(check, checkpoint, message):
    with pytest.raises(CheckpointError, match=f'^file.pth cannot be used .*{message}'):
        check(make_model(), checkpoint, 'file.pth')


def test_some_fit():
    state = make_model().state_dict()
    check_some_fit(make_model(), {'module.head.bias': state['head.bias']}, 'file.pth')
    for other in ({}, {'encoder.bias': torch.zeros(2)}, {'head.bias': torch.zeros(3)}):
        with pytest.raises(
            CheckpointError, match=r'^file.pth has none of the 4 .*neck'
        ):
            check_some_fit(make_model(), dict(state_dict=other), 'file.pth')
