# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models.losses.kernel_contrastive_loss import (
    KernelContrastiveLoss,
    kernel_contrastive_loss,
)

DATA = Path(__file__).parents[2] / 'data' / 'kmcl_reference.npz'
BATCHES = dict(
    one_pair=[[0, 1, 0], [0, 1, 0]],
    pair_and_single=[[0, 1, 1], [0, 1, 0], [1, 0, 0]],
    all_labels_present=[[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    an_image_without_label=[[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]],
    unknown_labels=[[1, -1, 0], [1, 1, -1], [-1, 1, -1], [-1, 1, 1], [-1, -1, -1]],
    soft_labels=[[1, 0.5, 0], [1, 0.1, 0], [0, 1, 1], [1, 1, 0.2]],
)
NOTHING_SHARED = dict(
    no_label=[[0, 0, 0], [0, 0, 0]],
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_image=[[1, 1, 1]],
    each_label_once=[[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    all_unknown=[[-1, -1, -1], [-1, -1, -1]],
)
FACTORS = dict(isotropic=(2, 7.0), anisotropic=(3, 7.0), bhattacharyya=(3, 1.0))


def coefficient(mean1, var1, mean2, var2, factor):
    """Of two kernels with lists of M means and variances."""
    distance = 0.0
    for m1, v1, m2, v2 in zip(mean1, var1, mean2, var2):
        distance += 0.5 * math.log((v1 + v2) / (2 * math.sqrt(v1 * v2)))
        distance += (m1 - m2) ** 2 / (4 * (v1 + v2))
    return math.exp(-factor * distance)


def jaccard(row1, row2):
    known = [(a, b) for a, b in zip(row1, row2) if a >= 0 and b >= 0]
    common = sum(a == 1 and b == 1 for a, b in known)
    return common / sum(a == 1 or b == 1 for a, b in known)


def oracle(means, variances, targets, temperature, factor):
    """The loss from its formula, over listed pairs."""
    if means.ndim == 2:
        means, variances = means[:, None], variances[:, None]
    images = range(len(targets))
    total = 0.0
    for n in images:
        shared = {
            i: [k for k, y in enumerate(targets[n]) if y == targets[i][k] == 1]
            for i in images
            if i != n
        }
        partners = [i for i in shared if shared[i]]
        for i in partners:
            for k in shared[i]:
                scores = {
                    a: coefficient(
                        *(
                            t[b, :, k].tolist()
                            for b in (n, a)
                            for t in (means, variances)
                        ),
                        factor,
                    )
                    for a in images
                    if a != n and targets[a][k] >= 0
                }
                sums = math.fsum(math.exp(s / temperature) for s in scores.values())
                ratio = math.exp(scores[i] / temperature) / sums
                term = -math.log(jaccard(targets[n], targets[i]) * ratio + 1e-7)
                total += term / len(partners)
    return total / len(targets)


def make(targets, ndim, seed=0, dtype=torch.float64):
    """Means and variances, near enough to one another to overlap."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(targets), len(targets[0]))
    if ndim == 3:
        shape = (shape[0], 4, shape[1])
    means = 0.3 * torch.randn(shape, generator=generator)
    variances = 1 + 0.5 * torch.rand(shape, generator=generator)
    return [means.to(dtype), variances.to(dtype)]


def leaves(tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize('kernels', FACTORS)
@pytest.mark.parametrize('name', BATCHES)
def test_against_loop(name, kernels):
    ndim, factor = FACTORS[kernels]
    targets = BATCHES[name]
    for temperature in (0.17, 1.5):
        inputs = make(targets, ndim)
        loss = kernel_contrastive_loss(
            *inputs, torch.tensor(targets), temperature, factor
        )
        assert loss.ndim == 0 and loss.dtype == torch.float64
        # What is added to deviations, which the oracle leaves out, is worth 1e-8.
        expected = oracle(*inputs, targets, temperature, factor)
        assert loss.item() == pytest.approx(expected, rel=1e-6)
        assert expected > 0 or name == 'one_pair'


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
    flat = leaves(data[name] for name in ('mu', 'var'))
    inputs = flat
    if group == 'kmcl_anisotropic':
        inputs = [t.view(num_images, num_dims, num_classes) for t in flat]
    loss = KernelContrastiveLoss(data['temperature'].item())(
        *inputs, data['labels'], num_dims
    )
    torch.testing.assert_close(loss, data['loss_contrastive'], rtol=0, atol=1e-11)
    for name, grad in zip(('mu', 'var'), torch.autograd.grad(loss, flat)):
        expected = data[f'grad_contrastive_{name}']
        torch.testing.assert_close(grad, expected, rtol=0, atol=1e-11, msg=name)


def test_isotropic_is_anisotropic_with_equal_coordinates():
    targets = torch.tensor(BATCHES['an_image_without_label'])
    means, variances = make(targets.tolist(), 2)
    isotropic = kernel_contrastive_loss(means, variances, targets, 0.17, 5)
    anisotropic = kernel_contrastive_loss(
        *(t.unsqueeze(1).expand(-1, 5, -1) for t in (means, variances)), targets
    )
    torch.testing.assert_close(isotropic, anisotropic)


def test_jaccard_moves_the_value_and_not_the_gradient():
    """A label that no kernel of the pair is compared for only changes Jaccard."""
    results = []
    for extra in (0, 1):
        targets = torch.tensor([[1, extra], [1, 0], [0, 0]])
        inputs = leaves(make(targets.tolist(), 2))
        loss = kernel_contrastive_loss(*inputs, targets)
        results.append((loss, torch.autograd.grad(loss, inputs)))
    (low, low_grads), (high, high_grads) = results
    # Of two anchors each, over three images.
    assert (high - low).item() == pytest.approx(2 * math.log(2) / 3, rel=1e-5)
    for a, b in zip(low_grads, high_grads):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=0)


def test_images_that_share_a_label_overlap_in_the_end():
    targets = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
    means, variances = leaves(make(targets.tolist(), 2))
    optimizer = torch.optim.SGD([means, variances], lr=0.2)
    losses = []
    for _ in range(20):
        loss = kernel_contrastive_loss(means, variances, targets, 0.17, 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    assert (means[0, 0] - means[1, 0]).abs() < (means[0, 0] - means[2:, 0]).abs().min()


def test_unknown_entries_get_no_gradient():
    targets = torch.tensor(BATCHES['unknown_labels'])
    for ndim in (2, 3):
        means, variances = leaves(make(targets.tolist(), ndim))
        kernel_contrastive_loss(means, variances, targets).backward()
        for leaf in (means, variances):
            grad = leaf.grad.abs()
            grad = grad.sum(1) if ndim == 3 else grad
            assert not grad[targets == -1].any()
            # Label 0 is shared by the first two images and known of no other; label 1
            # is shared by the next two and the second, and known absent of none.
            assert grad[1:4, 1].all()


def test_absent_images_are_negatives():
    targets = torch.tensor([[1], [1], [0]])
    means, variances = leaves(make(targets.tolist(), 2))
    loss = kernel_contrastive_loss(means, variances, targets)
    loss.backward()
    assert means.grad[2].any()
    # Without a negative there is nothing to push.
    pair = kernel_contrastive_loss(means[:2], variances[:2], targets[:2])
    assert abs(pair.item()) < 1e-6


@pytest.mark.parametrize('ndim', [2, 3])
@pytest.mark.parametrize('name', NOTHING_SHARED)
def test_zero_with_live_graph(name, ndim):
    targets = NOTHING_SHARED[name]
    inputs = leaves(make(targets, ndim))
    loss = kernel_contrastive_loss(*inputs, torch.tensor(targets))
    assert loss.item() == 0
    loss.backward()
    for leaf in inputs:
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize('chunk_entries', [4, 10_000])
@pytest.mark.parametrize('ndim', [2, 3])
@pytest.mark.parametrize('name', ['one_pair', 'unknown_labels'])
def test_gradcheck(name, ndim, chunk_entries):
    targets = torch.tensor(BATCHES[name])
    inputs = leaves(make(BATCHES[name], ndim))
    assert torch.autograd.gradcheck(
        lambda means, variances: kernel_contrastive_loss(
            means, variances, targets, 0.5, 2.0, chunk_entries
        ),
        inputs,
    )


@pytest.mark.parametrize('ndim', [2, 3])
@pytest.mark.parametrize('chunk_entries', [1, 40, 75])
def test_chunks(chunk_entries, ndim):
    """Of any size: value and gradients of one chunk."""
    targets = torch.tensor(BATCHES['unknown_labels'])
    results = []
    for entries in (chunk_entries, 10_000):
        inputs = leaves(make(targets.tolist(), ndim))
        loss = kernel_contrastive_loss(*inputs, targets, chunk_entries=entries)
        results.append([loss, *torch.autograd.grad(loss, inputs)])
    for chunks, whole in zip(*results):
        torch.testing.assert_close(chunks, whole, rtol=1e-11, atol=1e-13)


def test_no_tensor_of_all_pairs(record_ops):
    """The largest tensor is a chunk or a table of pairs of images."""
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(40, 5, generator=generator) < 0.3).int()
    inputs = leaves(make(targets.tolist(), 3))
    with record_ops() as ops:
        kernel_contrastive_loss(*inputs, targets, chunk_entries=600).backward()
    # all classes and coordinates would be 20 times as much
    assert max(ops.sizes) == 40 * 40
    assert len(ops.sizes) > 100


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_inputs(dtype):
    targets = torch.tensor(BATCHES['an_image_without_label'])
    half = leaves(make(targets.tolist(), 3, dtype=dtype))
    full = leaves(t.detach().float() for t in half)
    loss = kernel_contrastive_loss(*half, targets)
    expected = kernel_contrastive_loss(*full, targets)
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    for a, b in zip(half, full):
        assert a.grad.dtype == dtype
        torch.testing.assert_close(a.grad, b.grad.to(dtype))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('chunk_entries', [16, 10_000])
def test_autocast(dtype, chunk_entries):
    """Autocast does not reach into the loss, nor into what is computed again."""
    targets = torch.tensor(BATCHES['an_image_without_label'])
    results = []
    for enabled in (False, True):
        inputs = leaves(make(targets.tolist(), 3, dtype=torch.float32))
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            loss = kernel_contrastive_loss(
                *inputs, targets, chunk_entries=chunk_entries
            )
        results.append([loss, *torch.autograd.grad(loss, inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_kernels_that_are_equal_or_far_apart():
    targets = torch.tensor([[1, 1], [1, 1], [0, 0]])
    for scale in (0.0, 1e6):
        means, variances = make(targets.tolist(), 3, dtype=torch.float32)
        inputs = leaves([means * scale, torch.ones_like(variances)])
        loss = kernel_contrastive_loss(*inputs, targets, 0.17, 2048)
        loss.backward()
        # All coefficients are 1, or all are 0: each anchor's ratio is a half.
        expected = 2 * 2 * math.log(2) / 3
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert all(leaf.grad.isfinite().all() for leaf in inputs)


@pytest.mark.parametrize('option', ['temperature', 'distance_factor', 'chunk_entries'])
@pytest.mark.parametrize('value', [0, -1])
def test_bad_options(option, value):
    inputs = make([[1, 0]], 2)
    with pytest.raises(ValueError, match=f'{option}.*{value}'):
        kernel_contrastive_loss(*inputs, torch.ones(1, 2), **{option: value})


@pytest.mark.parametrize(
    ('means', 'variances', 'targets'),
    [
        ((2, 3), (2, 4), (2, 3)),
        ((2, 4, 3), (2, 3), (2, 3)),
        ((2, 3, 4), (2, 3, 4), (2, 3)),
        ((2, 3), (2, 3), (1, 3)),
        ((3,), (3,), (3, 3)),
    ],
)
def test_bad_shapes(means, variances, targets):
    with pytest.raises(ValueError, match=r'means and variances \(B, K\) or \(B, M, K'):
        kernel_contrastive_loss(
            torch.zeros(means), torch.ones(variances), torch.zeros(targets)
        )


def test_module():
    targets = BATCHES['an_image_without_label']
    module = MODELS.build(dict(type='KernelContrastiveLoss', loss_weight=3.0))
    assert isinstance(module, KernelContrastiveLoss)
    assert (module.temperature, module.times_dims) == (0.17, True)
    exact = KernelContrastiveLoss(temperature=0.5, times_dims=False)
    for ndim, factor in ((2, 4), (3, 1)):
        inputs = make(targets, ndim)
        got = module(*inputs, torch.tensor(targets), num_dims=4)
        assert got.item() == pytest.approx(3 * oracle(*inputs, targets, 0.17, 4))
        got = exact(*inputs, torch.tensor(targets), num_dims=4)
        assert got.item() == pytest.approx(oracle(*inputs, targets, 0.5, factor))
    assert 'temperature=0.5, times_dims=False, loss_weight=1.0' in repr(exact)


def test_bad_module_options():
    with pytest.raises(ValueError, match='temperature'):
        KernelContrastiveLoss(temperature=0)
    for loss_weight in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match='loss_weight'):
            KernelContrastiveLoss(loss_weight=loss_weight)
