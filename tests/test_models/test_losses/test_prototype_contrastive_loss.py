# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models.losses.prototype_contrastive_loss import (
    PrototypeContrastiveLoss,
    prototype_contrastive_loss,
)

# Values and gradients of the authors' implementation, in float64.
DATA = Path(__file__).parents[2] / 'data' / 'sadcl_reference.npz'
BATCHES = dict(
    no_label_at_all=[[0, 0, 0], [0, 0, 0]],
    all_unknown=[[-1, -1, -1], [-1, -1, -1]],
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_image=[[1, 0, 1]],
    one_image_without_label=[[0, 0, 0]],
    all_labels_present=[[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    absent_labels=[[0, 1, 0], [0, 0, 0], [0, 1, 0]],
    an_image_without_label=[[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]],
    unknown_labels=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [0, -1, 0]],
    a_label_known_as_absent_only=[[1, -1, -1], [0, 0, -1], [1, 0, -1]],
)


def cosine(a, b):
    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a, b))

    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def oracle(embeddings, prototypes, targets, temperature):
    """The loss from its formula, over lists of plain floats."""
    embeddings, prototypes = embeddings.tolist(), prototypes.tolist()
    total, number = 0.0, 0
    for label, prototype in enumerate(prototypes):
        present, known = [], []
        for image, row in enumerate(targets):
            if row[label] == -1:
                continue
            score = cosine(embeddings[image][label], prototype) / temperature
            known.append(score)
            if row[label] == 1:
                present.append(score)
        if not known:
            continue
        number += len(present)
        top = max(known)
        pull = math.fsum(math.exp(s - top) for s in present) if present else 1.0
        total += math.log(math.fsum(math.exp(s - top) for s in known)) - math.log(pull)
    return total / number if number else 0.0


def inputs(targets, seed=0, dtype=torch.float64, width=5):
    generator = torch.Generator().manual_seed(seed)
    shape = len(targets), len(targets[0]), width
    embeddings = torch.randn(*shape, generator=generator, dtype=torch.float64)
    prototypes = torch.randn(*shape[1:], generator=generator, dtype=torch.float64)
    # Of any length.
    return (3 * embeddings).to(dtype), (0.2 * prototypes).to(dtype)


def loss_of(x, p, targets, temperature=0.07):
    return prototype_contrastive_loss(x, p, torch.tensor(targets), temperature)


@pytest.mark.parametrize('group', ['sadcl_pscl', 'sadcl_pscl_absent_label'])
def test_reference(group):
    with np.load(DATA) as data:
        h, prototypes, labels, expected, grad_h, grad_prototypes = (
            torch.from_numpy(np.asarray(data[f'{group}/{name}']))
            for name in (
                ['h', 'prototypes', 'labels', 'loss', 'grad_h', 'grad_prototypes']
            )
        )
        temperature = float(data[f'{group}/temperature'])
    # What the two are for.
    assert (labels.sum(dim=0) == 0).any() == (group == 'sadcl_pscl_absent_label')
    assert (labels.sum(dim=1) == 0).any()
    h.requires_grad_(), prototypes.requires_grad_()
    loss = prototype_contrastive_loss(h, prototypes, labels, temperature)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    loss.backward()
    torch.testing.assert_close(h.grad, grad_h, rtol=0, atol=1e-10)
    torch.testing.assert_close(prototypes.grad, grad_prototypes, rtol=0, atol=1e-10)


def test_worked_by_hand():
    # Label 0: the first image looks like its prototype and has it, the second is at a
    # right angle. Label 1: no image has it, both are opposite to each other.
    x = torch.tensor([[[2.0, 0], [3, 0]], [[0, 1], [-1, 0]]], dtype=torch.float64)
    p = torch.tensor([[5.0, 0], [1, 0]], dtype=torch.float64)
    loss = loss_of(x, p, [[1, 0], [0, 0]], 1.0)
    expected = math.log(math.e + 1) - 1 + math.log(math.e + 1 / math.e) - 1
    assert loss.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('temperature', [0.07, 1.0, 0.001])
@pytest.mark.parametrize('name', BATCHES)
def test_batches(name, temperature):
    targets = BATCHES[name]
    x, p = inputs(targets)
    x.requires_grad_(), p.requires_grad_()
    loss = loss_of(x, p, targets, temperature)
    expected = oracle(x, p, targets, temperature)
    assert loss.ndim == 0 and loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    loss.backward()
    for leaf in (x, p):
        assert leaf.grad is not None and leaf.grad.isfinite().all()
    nothing = ('no_label_at_all', 'all_unknown', 'one_image_without_label')
    if name in nothing:
        assert loss.item() == 0
        assert not x.grad.any() and not p.grad.any()
    unknown = torch.tensor(targets) == -1
    assert not x.grad[unknown].any()


@pytest.mark.parametrize('seed', range(20))
def test_random_batches(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 7, (2,), generator=generator).tolist()
    targets = (torch.randint(-1, 2, sizes, generator=generator)).tolist()
    x, p = inputs(targets, seed)
    temperature = 10 ** float(2 * torch.rand((), generator=generator) - 1.5)
    assert loss_of(x, p, targets, temperature).item() == pytest.approx(
        oracle(x, p, targets, temperature), rel=1e-9, abs=1e-12
    )


def test_soft_targets_count_as_absent():
    targets = [[1, 0.25, 0], [0.75, 1, -1]]
    x, p = inputs(targets)
    hard = [[1, 0, 0], [0, 1, -1]]
    assert torch.equal(loss_of(x, p, targets), loss_of(x, p, hard))


@pytest.mark.parametrize('name', ['an_image_without_label', 'unknown_labels'])
def test_gradcheck(name):
    """Where each label has an image; else a maximum is held fixed."""
    targets = BATCHES[name]
    x, p = inputs(targets, width=3)
    if name == 'unknown_labels':
        targets, x, p = [row[:2] for row in targets], x[:, :2], p[:2]
    leaves = [x.clone().requires_grad_(), p.clone().requires_grad_()]
    assert torch.autograd.gradcheck(lambda x, p: loss_of(x, p, targets, 0.3), leaves)


def test_absent_labels_push_away():
    targets = BATCHES['absent_labels']
    x, p = inputs(targets)
    x.requires_grad_()
    loss_of(x, p, targets).backward()
    moved = x.detach() - 0.01 * x.grad
    for label in (0, 2):
        before, after = (
            max(cosine(row[label].tolist(), p[label].tolist()) for row in rows)
            for rows in (x, moved)
        )
        assert after < before


def test_length_does_not_matter():
    targets = BATCHES['an_image_without_label']
    x, p = inputs(targets)
    expected = loss_of(x, p, targets)
    torch.testing.assert_close(loss_of(7 * x, 0.1 * p, targets), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_inputs(dtype):
    targets = BATCHES['an_image_without_label']
    x, p = (t.requires_grad_() for t in inputs(targets, dtype=dtype))
    loss = loss_of(x, p, targets)
    loss.backward()
    assert loss.dtype == torch.float32 and x.grad.dtype == p.grad.dtype == dtype
    # Same as float32 on the rounded values: nothing more is lost inside.
    xr, pr = (t.detach().float().requires_grad_() for t in (x, p))
    rounded = loss_of(xr, pr, targets)
    rounded.backward()
    torch.testing.assert_close(loss, rounded)
    torch.testing.assert_close(x.grad, xr.grad.to(dtype))
    torch.testing.assert_close(p.grad, pr.grad.to(dtype))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    """Autocast does not reach into the loss."""
    targets = BATCHES['an_image_without_label']
    results = []
    for enabled in (False, True):
        x, p = (t.requires_grad_() for t in inputs(targets, dtype=torch.float32))
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            loss = loss_of(x, p, targets, 0.01)
        loss.backward()
        results.append((loss.detach(), x.grad, p.grad))
    for plain, cast in zip(*results):
        assert cast.dtype == torch.float32 and cast.isfinite().all()
        assert torch.equal(plain, cast)


def test_gradient_steps_let_the_loss_fall():
    targets = BATCHES['an_image_without_label']
    leaves = [t.requires_grad_() for t in inputs(targets)]
    optimizer = torch.optim.SGD(leaves, lr=0.1)
    losses = []
    for _ in range(20):
        loss = loss_of(*leaves, targets, 0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(b < a for a, b in zip(losses, losses[1:]))


def test_nan_is_not_hidden():
    targets = BATCHES['an_image_without_label']
    x, p = inputs(targets)
    x[1, 0, 0] = math.nan
    assert loss_of(x, p, targets).isnan()


def test_module():
    targets = BATCHES['an_image_without_label']
    x, p = inputs(targets)
    module = MODELS.build(dict(type='PrototypeContrastiveLoss'))
    assert (module.temperature, module.loss_weight) == (0.07, 0.05)
    loss = module(x, p, torch.tensor(targets))
    assert loss.item() == pytest.approx(0.05 * oracle(x, p, targets, 0.07))
    module = PrototypeContrastiveLoss(temperature=0.7, loss_weight=3.0)
    loss = module(x, p, torch.tensor(targets))
    assert loss.item() == pytest.approx(3 * oracle(x, p, targets, 0.7))
    assert 'temperature=0.7, loss_weight=3.0' in repr(module)
    assert not module.state_dict()


@pytest.mark.parametrize('temperature', [0, -0.2, math.nan, math.inf])
def test_bad_temperature(temperature):
    targets = BATCHES['one_image']
    with pytest.raises(ValueError, match=f'temperature.*{temperature}'):
        loss_of(*inputs(targets), targets, temperature)
    with pytest.raises(ValueError, match='temperature'):
        PrototypeContrastiveLoss(temperature=temperature)


@pytest.mark.parametrize('loss_weight', [-0.1, math.nan, math.inf])
def test_bad_loss_weight(loss_weight):
    with pytest.raises(ValueError, match='loss_weight'):
        PrototypeContrastiveLoss(loss_weight=loss_weight)


@pytest.mark.parametrize(
    ('shapes', 'message'),
    [
        (((2, 3), (3, 4), (2, 3)), r'embeddings \(B > 0, L, P\).*got \(2, 3\)'),
        (((0, 3, 4), (3, 4), (0, 3)), r'got \(0, 3, 4\)'),
        (((2, 3, 4), (4, 3), (2, 3)), r'prototypes \(3, 4\).*got \(4, 3\)'),
        (((2, 3, 4), (1, 4), (2, 3)), r'prototypes \(3, 4\).*got \(1, 4\)'),
        (((2, 3, 4), (3, 4), (3, 2)), r'targets \(2, 3\).*got \(3, 2\)'),
        (((2, 3, 4), (3, 4), (2, 1)), r'targets \(2, 3\).*got \(2, 1\)'),
    ],
)
def test_bad_shapes(shapes, message):
    with pytest.raises(ValueError, match=message):
        prototype_contrastive_loss(*map(torch.zeros, shapes))
