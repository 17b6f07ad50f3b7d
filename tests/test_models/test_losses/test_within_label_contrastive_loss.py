# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.models.heads import LabelWiseClsHead
from mlcl_plugin.models.losses.within_label_contrastive_loss import (
    WithinLabelContrastiveLoss,
    within_label_contrastive_loss,
)

BATCHES = dict(
    usual=[[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 0]],
    no_label=[[0, 0], [0, 0]],
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_image=[[1, 1, 0]],
    all_present=[[1, 1], [1, 1], [1, 1]],
    unknown=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [0, 1, 1]],
    all_unknown=[[-1, -1], [-1, -1]],
)
NOTHING_ACTIVE = ('no_label', 'one_positive', 'one_image', 'all_unknown')


def oracle(grid, targets, temperature):
    """The loss from its formula, over listed pairs of plain floats."""

    def score(a, b):
        return math.fsum(x * y for x, y in zip(a, b)) / temperature

    grid = grid.tolist()
    losses = []
    for label in range(len(targets[0])):
        known = [b for b, row in enumerate(targets) if row[label] >= 0]
        present = [b for b in known if targets[b][label] == 1]
        for i in present:
            positives = [p for p in present if p != i]
            if not positives:
                continue
            anchor = grid[i][label]
            scores = [score(anchor, grid[a][label]) for a in known if a != i]
            top = max(scores)
            log_sum = top + math.log(math.fsum(math.exp(s - top) for s in scores))
            terms = [score(anchor, grid[p][label]) - log_sum for p in positives]
            losses.append(-math.fsum(terms) / len(positives))
    return math.fsum(losses) / len(losses) if losses else 0.0


def make(targets, dtype=torch.float64, dims=5, seed=0):
    """Embeddings ``(B, L, D)`` and what the loss takes of them."""
    targets = torch.tensor(targets)
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randn(*targets.shape, dims, generator=generator, dtype=torch.float64)
    grid = F.normalize(grid, dim=-1).to(dtype)
    images, labels = (targets >= 0).nonzero(as_tuple=True)
    return grid, grid[images, labels], labels, targets[images, labels] == 1


@pytest.mark.parametrize('name', BATCHES)
@pytest.mark.parametrize('temperature', [0.1, 1.0])
def test_equals_the_formula(name, temperature):
    grid, rows, labels, present = make(BATCHES[name])
    loss = within_label_contrastive_loss(rows, labels, present, temperature)
    expected = oracle(grid, BATCHES[name], temperature)
    assert loss.ndim == 0
    assert abs(loss.item() - expected) <= 1e-10 * max(1, abs(expected))
    assert (expected == 0) == (name in NOTHING_ACTIVE)


@pytest.mark.parametrize('name', BATCHES)
def test_gradients(name):
    _, rows, labels, present = make(BATCHES[name])
    rows.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: within_label_contrastive_loss(z, labels, present, 0.3), (rows,)
    )
    within_label_contrastive_loss(rows, labels, present).backward()
    assert rows.grad.isfinite().all()
    assert bool((rows.grad != 0).any()) == (name not in NOTHING_ACTIVE)


def test_order_does_not_matter():
    _, rows, labels, present = make(BATCHES['usual'])
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))
    loss = within_label_contrastive_loss(rows, labels, present)
    other = within_label_contrastive_loss(rows[order], labels[order], present[order])
    torch.testing.assert_close(loss, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    _, rows, labels, present = make(BATCHES['usual'], dtype)
    rows.requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = within_label_contrastive_loss(rows, labels, present, 0.02)
    exact = within_label_contrastive_loss(rows.double(), labels, present, 0.02)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)
    loss.backward()
    assert rows.grad.isfinite().all()


def test_in_the_head():
    """The head hands over known embeddings of labels that have a pair."""
    targets = BATCHES['unknown']
    head = LabelWiseClsHead(
        num_classes=3,
        in_channels=8,
        loss_contrastive=dict(
            type='WithinLabelContrastiveLoss', temperature=0.5, loss_weight=0.2
        ),
        projector=dict(out_channels=4),
    ).double()
    feats = torch.randn(4, 3, 8, dtype=torch.float64)
    samples = [DataSample().set_gt_score(torch.tensor(row).double()) for row in targets]
    losses = head.loss((feats,), samples)
    expected = 0.2 * oracle(head.projector(feats), targets, 0.5)
    assert abs(losses['loss_contrastive'].item() - expected) < 1e-10
    assert expected > 0

    seen = []
    head.projector.register_forward_hook(lambda m, args, out: seen.append(len(out)))
    head.loss((feats,), samples)
    # Label 2 has one positive; labels 0 and 1 are known in 3 and in 2 images.
    assert seen == [5]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(temperature=0), 'temperature must be a positive'),
        (dict(labels=torch.zeros(2, dtype=torch.long)), r'labels \(N,\)'),
        (dict(present=torch.zeros(2, dtype=torch.bool)), r'present \(N,\)'),
    ],
)
def test_bad_arguments(change, message):
    arguments = dict(
        embeddings=torch.eye(3),
        labels=torch.zeros(3, dtype=torch.long),
        present=torch.ones(3, dtype=torch.bool),
    )
    with pytest.raises(ValueError, match=message):
        within_label_contrastive_loss(**(arguments | change))


def test_module():
    module = MODELS.build(
        dict(type='WithinLabelContrastiveLoss', temperature=0.5, loss_weight=0.3)
    )
    _, rows, labels, present = make(BATCHES['usual'])
    expected = 0.3 * within_label_contrastive_loss(rows, labels, present, 0.5)
    torch.testing.assert_close(module(rows, labels, present), expected)
    assert 'temperature=0.5' in repr(module)
    with pytest.raises(ValueError, match='loss_weight must be'):
        WithinLabelContrastiveLoss(loss_weight=-1)


def test_soft_targets_take_no_part():
    """Mixup makes them: such an entry is neither present nor absent."""
    loss = WithinLabelContrastiveLoss(across_processes=False)
    targets = torch.tensor([[1, 0.3], [1, 0.7], [0, 1], [-1, 1]])
    assert loss.select(targets).int().tolist() == [[1, 0], [1, 0], [1, 1], [0, 1]]
