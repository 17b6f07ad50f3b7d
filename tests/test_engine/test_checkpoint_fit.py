# SPDX-License-Identifier: Apache-2.0
"""The function by itself. By the hook: test_checkpoint_check_hook.py."""

import pytest
import torch
from torch import nn

from mlcl_plugin.engine import fit_checkpoint


def make_model():
    return nn.ModuleDict(dict(neck=nn.Linear(3, 4), head=nn.Linear(4, 2)))


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


@pytest.mark.parametrize('value', [torch.zeros(3), 'text', None])
def test_another_shape(value):
    checkpoint = dict(
        state_dict=dict(make_model().state_dict(), **{'head.bias': value})
    )
    with pytest.raises(ValueError, match=r'1 of its 4 .*, e.g. head.bias\. Use'):
        fit_checkpoint(make_model(), checkpoint, 'file.pth', ['head.'])
