# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models.losses.kernel_reconstruction_loss import (
    KernelReconstructionLoss,
    kernel_reconstruction_loss,
)

DATA = Path(__file__).parents[2] / 'data' / 'kmcl_reference.npz'
BATCHES = dict(
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_image=[[1, 1, 0]],
    an_image_without_label=[[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]],
    unknown_labels=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [-1, 0, 0], [0, 1, 1]],
    soft_labels=[[1, 0.5, 0], [0.9, 0.1, 0], [0, 1, 1]],
)


def oracle(features, logits, means, variances, targets):
    """The loss from its formula, on plain floats."""
    if means.ndim == 2:
        means, variances = (
            t[:, None].expand(-1, features.size(1), -1) for t in (means, variances)
        )
    total = 0.0
    for b, row in enumerate(targets):
        parts = {}
        for k, y in enumerate(row):
            distance = math.fsum(
                (f - m) ** 2 / (2 * v)
                for f, m, v in zip(
                    features[b].tolist(),
                    means[b, :, k].tolist(),
                    variances[b, :, k].tolist(),
                )
            )
            pi = 1 / (1 + math.exp(-logits[b, k].item()))
            if y >= 0:
                parts[k] = pi * max(math.exp(-distance), 2.0**-126)
        present = math.fsum(v for k, v in parts.items() if row[k] == 1)
        ratio = present / math.fsum(parts.values()) if present else 0.0
        total -= math.log(max(ratio, 1e-7))
    return total / len(targets)


def make(targets, ndim, seed=0, num_dims=4, dtype=torch.float64):
    """Features, logits, means and variances."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(targets), len(targets[0]))
    shape = (size[0], num_dims, size[1]) if ndim == 3 else size
    tensors = [
        torch.randn(len(targets), num_dims, generator=generator),
        torch.randn(size, generator=generator),
        torch.randn(shape, generator=generator),
        1 + torch.rand(shape, generator=generator),
    ]
    return [t.to(dtype) for t in tensors]


def leaves(tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize('ndim', [2, 3])
@pytest.mark.parametrize('name', BATCHES)
def test_against_loop(name, ndim):
    targets = BATCHES[name]
    for seed in range(3):
        inputs = make(targets, ndim, seed)
        loss = kernel_reconstruction_loss(*inputs, torch.tensor(targets))
        assert loss.ndim == 0 and loss.dtype == torch.float64
        # What is added to deviations, which the oracle leaves out, is worth 1e-8.
        assert loss.item() == pytest.approx(oracle(*inputs, targets), rel=1e-6)


@pytest.mark.parametrize('group', ['kmcl', 'kmcl_anisotropic'])
def test_reference(group):
    """Value and gradients of the authors' implementation."""
    data = {
        k.split('/')[1]: torch.from_numpy(np.asarray(v))
        for k, v in np.load(DATA).items()
        if k.startswith(f'{group}/')
    }
    num_images, num_dims = data['features'].shape
    num_classes = data['labels'].size(1)
    names = ('features', 'logits', 'mu', 'var')
    inputs = leaves(data[name] for name in names)
    kernels = inputs[2:]
    if group == 'kmcl_anisotropic':
        kernels = [t.view(num_images, num_dims, num_classes) for t in kernels]
    loss = kernel_reconstruction_loss(*inputs[:2], *kernels, data['labels'])
    torch.testing.assert_close(loss, data['loss_reconstruction'], rtol=0, atol=1e-11)
    for name, grad in zip(names, torch.autograd.grad(loss, inputs)):
        expected = data[f'grad_reconstruction_{name}']
        torch.testing.assert_close(grad, expected, rtol=0, atol=1e-11, msg=name)


def test_isotropic_is_anisotropic_with_equal_coordinates():
    targets = torch.tensor(BATCHES['unknown_labels'])
    features, logits, *kernels = make(targets.tolist(), 2)
    wide = [t.unsqueeze(1).expand(-1, 4, -1) for t in kernels]
    torch.testing.assert_close(
        kernel_reconstruction_loss(features, logits, *kernels, targets),
        kernel_reconstruction_loss(features, logits, *wide, targets),
    )


@pytest.mark.parametrize('ndim', [2, 3])
@pytest.mark.parametrize(
    'targets',
    [[[0, 0, 0]], [[-1, -1, -1], [-1, 0, -1]]],
    ids=['no_label', 'all_unknown'],
)
def test_constant_with_live_graph(targets, ndim):
    inputs = leaves(make(targets, ndim))
    loss = kernel_reconstruction_loss(*inputs, torch.tensor(targets))
    assert loss.item() == pytest.approx(-math.log(1e-7))
    loss.backward()
    for leaf in inputs:
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_all_labels_present_is_perfect():
    inputs = leaves(make([[1, 1, 1], [1, -1, 1]], 2))
    loss = kernel_reconstruction_loss(*inputs, torch.tensor([[1, 1, 1], [1, -1, 1]]))
    assert abs(loss.item()) < 1e-15


def test_unknown_labels_get_no_gradient():
    targets = torch.tensor([[1, -1, 0], [-1, 1, 0]])
    inputs = leaves(make(targets.tolist(), 3))
    kernel_reconstruction_loss(*inputs, targets).backward()
    logits, means, variances = inputs[1:]
    for grad in (logits.grad, means.grad.abs().sum(1), variances.grad.abs().sum(1)):
        assert not grad[targets == -1].any()
        assert grad[targets != -1].all()


@pytest.mark.parametrize('ndim', [2, 3])
@pytest.mark.parametrize('name', ['one_positive', 'unknown_labels'])
def test_gradcheck(name, ndim):
    targets = torch.tensor(BATCHES[name])
    inputs = leaves(make(BATCHES[name], ndim))
    assert torch.autograd.gradcheck(
        lambda *tensors: kernel_reconstruction_loss(*tensors, targets), inputs
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('ndim', [2, 3])
def test_half_precision_inputs(ndim, dtype):
    targets = torch.tensor(BATCHES['unknown_labels'])
    half = leaves(make(targets.tolist(), ndim, dtype=dtype))
    full = leaves(t.detach().float() for t in half)
    loss = kernel_reconstruction_loss(*half, targets)
    expected = kernel_reconstruction_loss(*full, targets)
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    for a, b in zip(half, full):
        assert a.grad.dtype == dtype
        torch.testing.assert_close(a.grad, b.grad.to(dtype))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    """Autocast does not reach into the loss."""
    targets = torch.tensor(BATCHES['unknown_labels'])
    results = []
    for enabled in (False, True):
        inputs = leaves(make(targets.tolist(), 3, dtype=torch.float32))
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            loss = kernel_reconstruction_loss(*inputs, targets)
        results.append([loss, *torch.autograd.grad(loss, inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize('ndim', [2, 3])
def test_kernel_floor(ndim):
    """Of 2048 dimensions, all kernels are below it and get no gradient."""
    targets = torch.tensor(BATCHES['an_image_without_label'])
    grads = {}
    for floor in (2.0**-126, 0):
        inputs = make(targets.tolist(), ndim, num_dims=2048, dtype=torch.float32)
        inputs = leaves([*inputs[:2], 0.1 * inputs[2], inputs[3]])
        loss = kernel_reconstruction_loss(*inputs, targets, kernel_floor=floor)
        loss.backward()
        assert loss.isfinite()
        assert inputs[1].grad.isfinite().all() and inputs[1].grad.any()
        grads[floor] = inputs[2].grad
    assert not grads[2.0**-126].any()
    assert grads[0].isfinite().all() and grads[0].any()


def test_precision_of_float32():
    """Features far from 0, whose squares would cancel."""
    targets = torch.tensor(BATCHES['an_image_without_label'])
    features, logits, means, variances = make(targets.tolist(), 2, num_dims=512)
    inputs = [1000 + 0.1 * features, logits, 1000 + 0.1 * means, variances]
    inputs = [t.float() for t in inputs]
    exact = kernel_reconstruction_loss(*(t.double() for t in inputs), targets)
    loss = kernel_reconstruction_loss(*inputs, targets)
    torch.testing.assert_close(loss.double(), exact, rtol=1e-4, atol=0)


def test_gradient_steps_let_the_loss_fall():
    targets = torch.tensor(BATCHES['an_image_without_label'])
    inputs = leaves(make(targets.tolist(), 3))
    optimizer = torch.optim.SGD(inputs, lr=0.2)
    losses = []
    for _ in range(20):
        loss = kernel_reconstruction_loss(*inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # An image without label adds a constant, which stays.
    constant = -math.log(1e-7) / 4
    assert losses[-1] - constant < 0.5 * (losses[0] - constant)


@pytest.mark.parametrize(
    ('option', 'value'),
    [('kernel_floor', -1e-9), ('kernel_floor', 1), ('ratio_floor', 0)],
)
def test_bad_floors(option, value):
    inputs = make([[1, 0]], 2)
    with pytest.raises(ValueError, match=f'{option}.*{value}'):
        kernel_reconstruction_loss(*inputs, torch.ones(1, 2), **{option: value})
    with pytest.raises(ValueError, match=f'{option}.*{value}'):
        KernelReconstructionLoss(**{option: value})


@pytest.mark.parametrize(
    ('features', 'logits', 'means'),
    [
        ((3, 4), (2, 3), (2, 3)),
        ((2, 4), (2, 4), (2, 3)),
        ((2, 4), (2, 3), (2, 5, 3)),
        ((2, 4, 1), (2, 3), (2, 3)),
    ],
)
def test_bad_shapes(features, logits, means):
    with pytest.raises(ValueError, match=r'Expected features \(B, M\)'):
        kernel_reconstruction_loss(
            torch.zeros(features),
            torch.zeros(logits),
            torch.zeros(means),
            torch.ones(means),
            torch.zeros(2, 3),
        )


def test_module():
    targets = BATCHES['unknown_labels']
    inputs = make(targets, 3)
    module = MODELS.build(dict(type='KernelReconstructionLoss', loss_weight=3.0))
    assert isinstance(module, KernelReconstructionLoss)
    got = module(*inputs, torch.tensor(targets))
    assert got.item() == pytest.approx(3 * oracle(*inputs, targets))
    assert 'kernel_floor=1.175e-38' in repr(module)
    floor = KernelReconstructionLoss(ratio_floor=0.1)
    got = floor(*make([[0, 0]], 2), torch.zeros(1, 2))
    assert got.item() == pytest.approx(math.log(10))


@pytest.mark.parametrize('loss_weight', [-0.1, math.nan, math.inf])
def test_bad_loss_weight(loss_weight):
    with pytest.raises(ValueError, match='loss_weight'):
        KernelReconstructionLoss(loss_weight=loss_weight)
