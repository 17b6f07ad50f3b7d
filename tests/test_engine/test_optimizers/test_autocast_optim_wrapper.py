# SPDX-License-Identifier: Apache-2.0
import torch
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn

from mlcl_plugin.engine import AutocastOptimWrapper


def build(model, **kwargs):
    return OPTIM_WRAPPERS.build(
        dict(
            type='AutocastOptimWrapper',
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            **kwargs,
        )
    )


def test_forward_in_bfloat16_weights_in_float32():
    model = nn.Linear(8, 4)
    wrapper = build(model)
    assert isinstance(wrapper, AutocastOptimWrapper)
    before = model.weight.detach().clone()
    x = torch.randn(3, 8)
    with wrapper.optim_context(model):
        out = model(x)
    assert out.dtype == torch.bfloat16
    assert model(x).dtype == torch.float32
    wrapper.backward(out.float().square().mean())
    assert model.weight.dtype == model.weight.grad.dtype == torch.float32
    wrapper.step()
    torch.testing.assert_close(model.weight, before - 0.1 * model.weight.grad)


def test_small_gradients_live_without_scaling():
    """float16 would flush them to zero."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    wrapper = build(model)
    with wrapper.optim_context(model):
        loss = model(torch.full((1, 1), 1e-20)).sum()
    wrapper.backward(loss)
    assert 0.9e-20 < model.weight.grad.item() < 1.1e-20


def test_accumulation():
    """What the base class does stays: a step every second call."""
    model = nn.Linear(2, 1)
    wrapper = build(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    before = model.weight.detach().clone()
    for step in range(2):
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 2)).sum()
        wrapper.update_params(loss)
        assert torch.equal(model.weight, before) == (step == 0)
