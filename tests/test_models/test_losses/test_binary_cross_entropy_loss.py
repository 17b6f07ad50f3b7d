# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models import BinaryCrossEntropyLoss

LOGITS = [[0.3, -2.0, 4.0], [-0.7, 0.0, 1.1]]
TARGETS = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.25]]


def oracle(logits, targets, pos_weight=(1, 1, 1)):
    """Entry by entry from the definition."""

    def entry(x, y, w):
        p = 1 / (1 + math.exp(-x))
        return -(w * y * math.log(p) + (1 - y) * math.log(1 - p))

    return [
        [entry(x, y, w) for x, y, w in zip(xs, ys, pos_weight)]
        for xs, ys in zip(logits, targets)
    ]


@pytest.fixture
def batch():
    return (
        torch.tensor(LOGITS, dtype=torch.float64),
        torch.tensor(TARGETS, dtype=torch.float64),
    )


def test_values(batch):
    expected = torch.tensor(oracle(LOGITS, TARGETS), dtype=torch.float64)
    loss = MODELS.build(dict(type='BinaryCrossEntropyLoss'))
    none = loss(*batch, reduction_override='none')
    torch.testing.assert_close(none, expected, rtol=1e-12, atol=0)
    for override, value in (
        (None, expected.sum() / 6),
        ('mean', expected.sum() / 6),
        ('sum', expected.sum()),
    ):
        result = loss(*batch, reduction_override=override)
        torch.testing.assert_close(result, value, rtol=1e-12, atol=0)


def test_weights(batch):
    pos_weight = [2.0, 0.5, 3.0]
    expected = torch.tensor(oracle(LOGITS, TARGETS, pos_weight), dtype=torch.float64)
    loss = BinaryCrossEntropyLoss(loss_weight=0.1, pos_weight=pos_weight)
    none = loss(*batch, reduction_override='none')
    torch.testing.assert_close(none, 0.1 * expected, rtol=1e-12, atol=0)

    weight = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    result = loss(*batch, weight=weight, avg_factor=3)
    torch.testing.assert_close(result, 0.1 * expected[0].sum() / 3, rtol=1e-12, atol=0)


def test_same_as_mmpretrain(batch):
    theirs = MODELS.build(
        dict(type='CrossEntropyLoss', use_sigmoid=True, pos_weight=[1.0, 2.0, 3.0])
    )
    ours = BinaryCrossEntropyLoss(pos_weight=[1.0, 2.0, 3.0])
    logits, targets = (t.float() for t in batch)
    for override in ('none', 'mean', 'sum'):
        torch.testing.assert_close(
            ours(logits, targets, reduction_override=override),
            theirs(logits, targets, reduction_override=override),
        )


def test_gradient(batch):
    logits, targets = batch
    logits.requires_grad_()
    loss = BinaryCrossEntropyLoss()
    loss(logits, targets).backward()
    expected = (logits.detach().sigmoid() - targets) / 6
    torch.testing.assert_close(logits.grad, expected, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), logits)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_precision_is_that_of_the_logits(batch, dtype):
    logits, targets = batch
    loss = BinaryCrossEntropyLoss()
    for target in (targets, targets.float(), targets.round().long()):
        assert loss(logits.to(dtype), target).dtype == dtype


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_rounds_no_target(dtype):
    """Smoothed labels and weights have bits that half precision lacks."""
    loss = BinaryCrossEntropyLoss(pos_weight=[1.3, 0.7, 9.1], label_smoothing=0.1)
    logits, targets = torch.tensor(LOGITS, dtype=dtype), torch.tensor(TARGETS)
    expected = loss(logits.float(), targets)
    torch.testing.assert_close(loss(logits, targets), expected, rtol=1e-6, atol=0)


def test_large_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]], requires_grad=True)
    targets = torch.tensor([[1, 0, 0, 1]])
    loss = BinaryCrossEntropyLoss()(logits, targets)
    assert loss.item() == pytest.approx(5000)
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0, 0.25, -0.25]]))


def test_errors(batch):
    loss = BinaryCrossEntropyLoss()
    with pytest.raises(ValueError, match='avg_factor'):
        loss(*batch, avg_factor=2, reduction_override='sum')
    with pytest.raises(ValueError, match='median'):
        loss(*batch, reduction_override='median')
    with pytest.raises(ValueError, match='size'):
        loss(batch[0], batch[1][:, :2])


@pytest.mark.parametrize('smoothing', [0.1, 0.5])
@pytest.mark.parametrize('pos_weight', [None, [2.0, 0.5, 3.0]])
def test_label_smoothing(batch, smoothing, pos_weight):
    """Each target moves towards one half, entry by entry."""
    smooth = [[(1 - smoothing) * y + smoothing / 2 for y in ys] for ys in TARGETS]
    expected = torch.tensor(
        oracle(LOGITS, smooth, pos_weight or (1, 1, 1)), dtype=torch.float64
    )
    loss = BinaryCrossEntropyLoss(0.3, pos_weight, label_smoothing=smoothing)
    none = loss(*batch, reduction_override='none')
    torch.testing.assert_close(none, 0.3 * expected, rtol=1e-12, atol=0)


def test_label_smoothing_is_that_of_torch(batch):
    """That of a softmax over the classes absent and present."""
    logits, targets = batch
    hard = (targets > 0.5).double()
    two_classes = torch.stack([torch.zeros_like(logits), logits]).flatten(1).T
    expected = torch.nn.functional.cross_entropy(
        two_classes, hard.flatten().long(), label_smoothing=0.2
    )
    result = BinaryCrossEntropyLoss(label_smoothing=0.2)(logits, hard)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=0)


def test_label_smoothing_against_mmpretrain(batch):
    logits, targets = (t.float() for t in batch)
    targets = (targets > 0.5).float()
    theirs = MODELS.build(
        dict(
            type='LabelSmoothLoss',
            label_smooth_val=0.05,
            mode='multi_label',
            use_sigmoid=True,
        )
    )
    ours = BinaryCrossEntropyLoss(label_smoothing=0.1)
    torch.testing.assert_close(ours(logits, targets), theirs(logits, targets))


def test_smoothed_gradient(batch):
    """It vanishes at the logit of the smoothed target."""
    loss = BinaryCrossEntropyLoss(label_smoothing=0.1)
    logit = torch.tensor([[math.log(0.95 / 0.05)]], dtype=torch.float64)
    logit.requires_grad_()
    loss(logit, torch.ones_like(logit)).backward()
    assert logit.grad.abs().item() < 1e-15
    assert torch.autograd.gradcheck(
        loss, (batch[0].requires_grad_(), batch[1]), fast_mode=False
    )


@pytest.mark.parametrize('value', [-0.1, 1, math.nan, '0.1', True, None])
def test_label_smoothing_out_of_range(value):
    message = f'label_smoothing must be from 0 to below 1, got {value!r}'
    with pytest.raises(ValueError, match=message):
        BinaryCrossEntropyLoss(label_smoothing=value)


def test_weights_from_counts(batch):
    """A label in 1 of 5 known images weighs 4; at most 3 here; 1 without an image."""
    present, absent = torch.tensor([1, 2, 0]), torch.tensor([4, 1, 9])
    loss = BinaryCrossEntropyLoss(pos_weight='auto', max_pos_weight=3)
    assert loss.needs_label_counts
    with pytest.raises(ValueError, match="pos_weight='auto' needs the numbers"):
        loss(*batch)
    loss.set_label_counts(present, absent)
    same = BinaryCrossEntropyLoss(pos_weight=[3.0, 0.5, 1.0])
    assert torch.equal(loss(*batch), same(*batch))
    assert not same.needs_label_counts


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(pos_weight='balanced'), "list of numbers, 'auto' or None, got 'bal"),
        (dict(pos_weight='auto', max_pos_weight=0), 'must be positive, got 0'),
        (dict(max_pos_weight=math.nan), 'must be positive, got nan'),
    ],
)
def test_wrong_weights(options, message):
    with pytest.raises(ValueError, match=message):
        BinaryCrossEntropyLoss(**options)
