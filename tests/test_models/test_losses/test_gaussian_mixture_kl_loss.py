# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models.losses.gaussian_mixture_kl_loss import (
    GaussianMixtureKLLoss,
    gaussian_mixture_kl_loss,
)

DATA = Path(__file__).parents[2] / 'data' / 'cgmvae_reference.npz'
BATCHES = dict(
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_image=[[1, 1, 0]],
    all_labels_present=[[1, 1, 1], [1, 1, 1]],
    an_image_without_label=[[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]],
    unknown_labels=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [0, 1, 1]],
    soft_labels=[[1, 0.5, 0], [0.9, 0.1, 0], [0, 1, 1]],
)
NOTHING_PRESENT = dict(
    no_label=[[0, 0, 0], [0, 0, 0]], all_unknown=[[-1, -1, -1], [-1, 0, -1]]
)


def log_density(z, mean, log_var):
    """Of a diagonal Gaussian, on plain floats."""
    return math.fsum(
        -0.5 * (math.log(2 * math.pi) + v + (x - m) ** 2 / math.exp(v))
        for x, m, v in zip(z, mean, log_var)
    )


def oracle(z, mean, log_var, label_means, label_log_vars, targets):
    z, mean, log_var, label_means, label_log_vars = (
        t.tolist() for t in (z, mean, log_var, label_means, label_log_vars)
    )
    losses = []
    for b, row in enumerate(targets):
        labels = [j for j, y in enumerate(row) if y == 1]
        if not labels:
            continue
        mixture = math.fsum(
            math.exp(log_density(z[b], label_means[j], label_log_vars[j]))
            for j in labels
        )
        own = log_density(z[b], mean[b], log_var[b])
        losses.append(own - math.log(mixture / len(labels)))
    return math.fsum(losses) / len(losses) if losses else 0.0


def make(targets, seed=0, dims=4, dtype=torch.float64):
    """z, mean, log_var, label_means and label_log_vars of a batch."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [len(targets)] * 3 + [len(targets[0])] * 2
    return [torch.randn(n, dims, generator=generator).to(dtype) for n in sizes]


def leaves(tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize('name', BATCHES)
def test_against_loop(name):
    targets = BATCHES[name]
    for seed in range(5):
        inputs = make(targets, seed)
        loss = gaussian_mixture_kl_loss(*inputs, torch.tensor(targets))
        assert loss.ndim == 0 and loss.dtype == torch.float64
        assert loss.item() == pytest.approx(oracle(*inputs, targets), rel=1e-11)


def test_reference():
    """Value and gradients of the authors' implementation."""
    data = {
        k.split('/')[1]: torch.from_numpy(np.asarray(v))
        for k, v in np.load(DATA).items()
    }
    names = ('mu_x', 'logvar_x', 'mu_l', 'logvar_l')
    mean, log_var, label_means, label_log_vars = inputs = leaves(
        data[name] for name in names
    )
    z = mean + (log_var / 2).exp() * data['noise']
    loss = gaussian_mixture_kl_loss(
        z, mean, log_var, label_means, label_log_vars, data['labels']
    )
    torch.testing.assert_close(loss, data['loss_kl'], rtol=0, atol=1e-11)
    for name, grad in zip(names, torch.autograd.grad(loss, inputs)):
        expected = data[f'grad_kl_{name}']
        torch.testing.assert_close(grad, expected, rtol=0, atol=1e-11, msg=name)


def test_estimates_the_divergence_of_two_gaussians():
    """Of a single label: the closed form is known."""
    generator = torch.Generator().manual_seed(0)
    mean, log_var, label_mean, label_log_var = torch.randn(
        4, 1, 3, generator=generator, dtype=torch.float64
    )
    exact = 0.5 * (
        label_log_var
        - log_var
        - 1
        + (log_var.exp() + (mean - label_mean).square()) / label_log_var.exp()
    )
    number = 40_000
    noise = torch.randn(number, 3, generator=generator, dtype=torch.float64)
    estimate = gaussian_mixture_kl_loss(
        mean + (log_var / 2).exp() * noise,
        mean.expand(number, -1),
        log_var.expand(number, -1),
        label_mean,
        label_log_var,
        torch.ones(number, 1),
    )
    torch.testing.assert_close(estimate, exact.sum(), rtol=0.03, atol=0)


def test_images_without_label_are_left_out():
    targets = torch.tensor(BATCHES['unknown_labels'])
    inputs = leaves(make(targets.tolist()))
    keep = torch.tensor([0, 1, 3])
    loss = gaussian_mixture_kl_loss(*inputs, targets)
    part = gaussian_mixture_kl_loss(
        *(t[keep] for t in inputs[:3]), *inputs[3:], targets[keep]
    )
    torch.testing.assert_close(loss, part)
    loss.backward()
    for leaf in inputs[:3]:
        assert not leaf.grad[2].any() and leaf.grad[keep].any()


def test_unknown_labels_are_not_in_the_mixture():
    inputs = leaves(make([[1, -1, 0]] * 2))
    loss = gaussian_mixture_kl_loss(*inputs, torch.tensor([[1, -1, 0]] * 2))
    loss.backward()
    for leaf in inputs[3:]:
        assert leaf.grad[0].any() and not leaf.grad[1:].any()


@pytest.mark.parametrize('name', NOTHING_PRESENT)
def test_zero_with_live_graph(name):
    targets = NOTHING_PRESENT[name]
    inputs = leaves(make(targets))
    loss = gaussian_mixture_kl_loss(*inputs, torch.tensor(targets))
    assert loss.item() == 0
    loss.backward()
    for leaf in inputs:
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize('name', ['one_positive', 'unknown_labels', 'one_image'])
def test_gradcheck(name):
    targets = torch.tensor(BATCHES[name])
    inputs = leaves(make(BATCHES[name], dims=2))
    assert torch.autograd.gradcheck(
        lambda *tensors: gaussian_mixture_kl_loss(*tensors, targets), inputs
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_inputs(dtype):
    targets = torch.tensor(BATCHES['unknown_labels'])
    half = leaves(make(targets.tolist(), dtype=dtype))
    full = leaves(t.detach().float() for t in half)
    loss = gaussian_mixture_kl_loss(*half, targets)
    expected = gaussian_mixture_kl_loss(*full, targets)
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
        inputs = leaves(make(targets.tolist(), dtype=torch.float32))
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            loss = gaussian_mixture_kl_loss(*inputs, targets)
        results.append([loss, *torch.autograd.grad(loss, inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_far_apart():
    """Densities of e^-100,000, which only their logarithms can hold."""
    targets = [[1, 1, 0], [0, 1, 1]]
    inputs = make(targets, dtype=torch.float32)
    inputs[3] = inputs[3] * 300
    inputs = leaves(inputs)
    loss = gaussian_mixture_kl_loss(*inputs, torch.tensor(targets))
    loss.backward()
    assert loss > 1e4 and loss.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in inputs)


def test_gradient_steps_let_the_loss_fall():
    targets = torch.tensor(BATCHES['an_image_without_label'])
    _, *parameters = leaves(make(targets.tolist()))
    noise = torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double()
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    losses = []
    for _ in range(20):
        mean, log_var, *labels = parameters
        z = mean + (log_var / 2).exp() * noise
        loss = gaussian_mixture_kl_loss(z, mean, log_var, *labels, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize('wrong', range(6))
def test_bad_shapes(wrong):
    inputs = [*make([[1, 0, 1]] * 2), torch.tensor([[1, 0, 1]] * 2)]
    inputs[wrong] = inputs[wrong][:, :-1]
    with pytest.raises(ValueError, match=r'Expected z, mean and log_var \(B, D\)'):
        gaussian_mixture_kl_loss(*inputs)


def test_module():
    targets = BATCHES['unknown_labels']
    inputs = make(targets)
    module = MODELS.build(dict(type='GaussianMixtureKLLoss', loss_weight=6.0))
    assert isinstance(module, GaussianMixtureKLLoss)
    assert module(*inputs, torch.tensor(targets)).item() == pytest.approx(
        6 * oracle(*inputs, targets)
    )
    assert 'loss_weight=6.0' in repr(module) and not module.state_dict()
    assert GaussianMixtureKLLoss().loss_weight == 1


@pytest.mark.parametrize('loss_weight', [-0.1, math.nan, math.inf])
def test_bad_loss_weight(loss_weight):
    with pytest.raises(ValueError, match='loss_weight'):
        GaussianMixtureKLLoss(loss_weight)
