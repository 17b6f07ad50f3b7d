# SPDX-License-Identifier: Apache-2.0
"""The network of every recipe: losses, gradients, precisions, layout, compiled."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.engine.steps import step_config

from .agreement import assert_near

CONFIGS = Path(__file__).parents[2] / 'configs'
RECIPES = sorted(CONFIGS.rglob('*_resnet_digits.py'))
B, L = 8, 10
TOLERANCE = dict(loss=1e-4, gradient=1e-3)
"""Of float32, as a fraction of the largest value: sums have other orders."""
HALF = {torch.float16: 0.02, torch.bfloat16: 0.05}
"""The largest difference of a loss from that in float32, as a fraction of it."""


@pytest.fixture(autouse=True)
def equal_draws(monkeypatch):
    """Let all devices draw the same numbers: the CPU's."""

    def randn_like(x):
        generator = torch.Generator().manual_seed(0)
        return torch.randn(x.shape, generator=generator).to(x)

    monkeypatch.setattr(torch, 'randn_like', randn_like)


def build(path, step='step2'):
    """The network of a step of a recipe, without dropout, in training mode."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    cfg = Config.fromfile(path)
    cfg = step_config(cfg, step) if 'steps' in cfg else cfg
    cfg.model.data_preprocessor = dict(cfg.data_preprocessor, num_views=1)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for module in model.modules():
        for name in ('p', 'dropout'):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model.train()


def batch():
    """Images and samples with present, absent and, in one image, unknown labels."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (B, 3, 64, 64), generator=generator, dtype=torch.uint8)
    targets = (torch.rand(B, L, generator=generator) < 0.4).float()
    targets[:, 0] = torch.arange(B) % 2
    return inputs, [DataSample().set_gt_score(row) for row in targets]


def train_step(model, device):
    """Losses and gradients of a batch."""
    model = copy.deepcopy(model).to(device)
    inputs, samples = batch()
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)
    losses = model(**data, mode='loss')
    sum(value.sum() for key, value in losses.items() if 'loss' in key).backward()
    gradients = {
        name: x.grad for name, x in model.named_parameters() if x.grad is not None
    }
    return losses, gradients


@pytest.mark.gpu
@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_train_step(path, device):
    model = build(path)
    expected = train_step(model, 'cpu')
    for found, other, kind in zip(train_step(model, device), expected, TOLERANCE):
        assert found.keys() == other.keys() and other
        for name in other:
            assert found[name].device.type == device.type
            assert_near(found[name], other[name], TOLERANCE[kind], name)


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', HALF, ids=str)
@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_autocast(path, dtype, device):
    model = build(path)
    expected, _ = train_step(model, 'cpu')
    with torch.autocast(device.type, dtype):
        found, gradients = train_step(model, device)
    for name, value in expected.items():
        assert_near(found[name], value, HALF[dtype], name)
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.gpu
def test_channels_last(device):
    """The same values, by convolutions in this layout."""
    model = build(CONFIGS / 'mlcl_resnet_digits.py')
    assert model.data_preprocessor.channels_last
    seen = []
    model.backbone.register_forward_hook(
        lambda _, inputs, outputs: seen.extend([inputs[0], outputs[0]])
    )
    found, gradients = train_step(model.to(memory_format=torch.channels_last), device)
    assert len(seen) == 2
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
    model = model.to(memory_format=torch.contiguous_format)
    model.data_preprocessor.channels_last = False
    losses, expected = train_step(model, 'cpu')
    for name, value in losses.items():
        assert_near(found[name], value, TOLERANCE['loss'], name)
    for name, value in expected.items():
        assert_near(gradients[name], value, TOLERANCE['gradient'], name)


@pytest.mark.slow
@pytest.mark.gpu
def test_compiled_neck_and_head(device):
    """Losses and gradients of the label-wise part by torch.compile."""
    model = build(CONFIGS / 'mlcl_resnet_digits.py')
    features = torch.randn(B, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    _, samples = batch()
    expected = None
    for where, compiled in (('cpu', False), (device, True)):
        part = copy.deepcopy(model).to(where)
        leaf = features.to(where).requires_grad_()
        neck = torch.compile(part.neck) if compiled else part.neck
        loss = torch.compile(part.head.loss) if compiled else part.head.loss
        losses = loss(neck((leaf,)), samples)
        sum(losses.values()).backward()
        found = dict(losses, gradient=leaf.grad)
        for name, value in (expected or {}).items():
            assert_near(found[name], value, TOLERANCE['gradient'], name)
        expected = found
