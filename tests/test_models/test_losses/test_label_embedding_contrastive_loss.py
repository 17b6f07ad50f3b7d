# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from mlcl_plugin.models.losses.label_embedding_contrastive_loss import (
    LabelEmbeddingContrastiveLoss,
    label_embedding_contrastive_loss,
)

DATA = Path(__file__).parents[2] / 'data' / 'cgmvae_reference.npz'
BATCHES = dict(
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_vector=[[1, 1, 0]],
    all_labels_present=[[1, 1, 1], [1, 1, 1]],
    a_vector_without_label=[[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]],
    unknown_labels=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [0, 1, 1]],
    soft_labels=[[1, 0.5, 0], [0.9, 0.1, 0], [0, 1, 1]],
)
NOTHING_PRESENT = dict(
    no_label=[[0, 0, 0], [0, 0, 0]], all_unknown=[[-1, -1, -1], [-1, 0, -1]]
)


def oracle(vectors, embeddings, targets, temperature):
    """The loss from its formula, on plain floats."""
    columns = embeddings.t().tolist()
    losses = []
    for vector, row in zip(vectors.tolist(), targets):
        scores = [
            math.fsum(u * w for u, w in zip(vector, column)) / temperature
            for column in columns
        ]
        labels = [j for j, y in enumerate(row) if y == 1]
        if not labels:
            continue
        known = [math.exp(s) for s, y in zip(scores, row) if y >= 0]
        terms = [math.log(math.exp(scores[j]) / math.fsum(known)) for j in labels]
        losses.append(-math.fsum(terms) / len(labels))
    return math.fsum(losses) / len(losses) if losses else 0.0


def make(targets, seed=0, dims=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(targets), dims, generator=generator)
    embeddings = torch.randn(dims, len(targets[0]), generator=generator)
    return [F.normalize(vectors, dim=1).to(dtype), embeddings.to(dtype)]


def leaves(tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize('temperature', [0.1, 1.0, 5.0])
@pytest.mark.parametrize('name', BATCHES)
def test_against_loop(name, temperature):
    targets = BATCHES[name]
    inputs = make(targets)
    loss = label_embedding_contrastive_loss(*inputs, torch.tensor(targets), temperature)
    assert loss.ndim == 0 and loss.dtype == torch.float64
    expected = oracle(*inputs, targets, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-11)


def test_worked_by_hand():
    vectors = torch.tensor([[1.0, 0.0]])
    embeddings = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    loss = label_embedding_contrastive_loss(
        vectors, embeddings, torch.tensor([[1, 1, 0]])
    )
    total = math.log(math.e + 1 + 1 / math.e)
    assert loss.item() == pytest.approx(total - 0.5)


def test_reference():
    """Value and gradients of the authors' implementation."""
    data = {
        k.split('/')[1]: torch.from_numpy(np.asarray(v))
        for k, v in np.load(DATA).items()
    }
    names = ('w_y', 'w_x1', 'W')
    w_y, w_x1, embeddings = inputs = leaves(data[name] for name in names)
    loss = label_embedding_contrastive_loss(
        torch.cat([w_y, w_x1]),
        embeddings,
        data['labels'].repeat(2, 1),
        data['temperature'].item(),
    )
    torch.testing.assert_close(loss, data['loss_contrastive'], rtol=0, atol=1e-11)
    for name, grad in zip(names, torch.autograd.grad(loss, inputs)):
        expected = data[f'grad_contrastive_{name}']
        torch.testing.assert_close(grad, expected, rtol=0, atol=1e-11, msg=name)


def test_unknown_labels_and_vectors_without_label_get_no_gradient():
    targets = torch.tensor([[1, -1, 0], [-1, -1, 0]])
    vectors, embeddings = leaves(make(targets.tolist()))
    label_embedding_contrastive_loss(vectors, embeddings, targets).backward()
    assert vectors.grad[0].any() and not vectors.grad[1].any()
    assert embeddings.grad[:, 0].any() and embeddings.grad[:, 2].any()
    assert not embeddings.grad[:, 1].any()


@pytest.mark.parametrize('name', NOTHING_PRESENT)
def test_zero_with_live_graph(name):
    targets = NOTHING_PRESENT[name]
    inputs = leaves(make(targets))
    loss = label_embedding_contrastive_loss(*inputs, torch.tensor(targets))
    assert loss.item() == 0
    loss.backward()
    for leaf in inputs:
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize('name', ['one_positive', 'unknown_labels', 'one_vector'])
def test_gradcheck(name):
    targets = torch.tensor(BATCHES[name])
    inputs = leaves(make(BATCHES[name]))
    assert torch.autograd.gradcheck(
        lambda *tensors: label_embedding_contrastive_loss(*tensors, targets, 0.3),
        inputs,
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_inputs(dtype):
    targets = torch.tensor(BATCHES['unknown_labels'])
    half = leaves(make(targets.tolist(), dtype=dtype))
    full = leaves(t.detach().float() for t in half)
    loss = label_embedding_contrastive_loss(*half, targets, 0.05)
    expected = label_embedding_contrastive_loss(*full, targets, 0.05)
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
            loss = label_embedding_contrastive_loss(*inputs, targets, 0.05)
        results.append([loss, *torch.autograd.grad(loss, inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_extreme_scores():
    targets = torch.tensor(BATCHES['a_vector_without_label'])
    inputs = leaves(make(targets.tolist(), dtype=torch.float32))
    loss = label_embedding_contrastive_loss(*inputs, targets, 1e-4)
    loss.backward()
    assert loss.isfinite() and loss > 100
    assert all(leaf.grad.isfinite().all() for leaf in inputs)


def test_gradient_steps_let_the_loss_fall():
    targets = torch.tensor(BATCHES['unknown_labels'])
    inputs = leaves(make(targets.tolist()))
    optimizer = torch.optim.SGD(inputs, lr=0.5)
    losses = []
    for _ in range(20):
        loss = label_embedding_contrastive_loss(*inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(b < a for a, b in zip(losses, losses[1:]))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize('temperature', [0, -1.0, math.nan, math.inf])
def test_bad_temperature(temperature):
    inputs = make([[1, 0]])
    with pytest.raises(ValueError, match='temperature'):
        label_embedding_contrastive_loss(*inputs, torch.ones(1, 2), temperature)
    with pytest.raises(ValueError, match='temperature'):
        LabelEmbeddingContrastiveLoss(temperature)


@pytest.mark.parametrize(
    ('vectors', 'embeddings', 'targets'),
    [
        ((2, 4), (3, 4), (2, 3)),  # not transposed
        ((2, 4), (4, 3), (3, 2)),
        ((2, 4), (4, 3), (1, 3)),
        ((2, 1, 4), (4, 3), (2, 3)),
        ((2, 4), (4,), (2, 4)),
    ],
)
def test_bad_shapes(vectors, embeddings, targets):
    with pytest.raises(ValueError, match=r'vectors \(N, D\), label_embeddings \(D, L'):
        label_embedding_contrastive_loss(
            torch.zeros(vectors), torch.zeros(embeddings), torch.zeros(targets)
        )


def test_module():
    targets = BATCHES['unknown_labels']
    inputs = make(targets)
    module = MODELS.build(
        dict(type='LabelEmbeddingContrastiveLoss', temperature=0.5, loss_weight=3.0)
    )
    assert isinstance(module, LabelEmbeddingContrastiveLoss)
    assert module(*inputs, torch.tensor(targets)).item() == pytest.approx(
        3 * oracle(*inputs, targets, 0.5)
    )
    assert 'temperature=0.5, loss_weight=3.0' in repr(module)
    default = LabelEmbeddingContrastiveLoss()
    assert (default.temperature, default.loss_weight) == (1, 1)


@pytest.mark.parametrize('loss_weight', [-0.1, math.nan, math.inf])
def test_bad_loss_weight(loss_weight):
    with pytest.raises(ValueError, match='loss_weight'):
        LabelEmbeddingContrastiveLoss(loss_weight=loss_weight)
