# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from mlcl_plugin.models.losses.asymmetric_loss import (
    StableAsymmetricLoss,
    asymmetric_loss,
)

DATA = Path(__file__).parents[2] / 'data' / 'asl_reference.npz'
LOGITS = [[0.3, -2.0, 4.0, -3.2], [-0.7, 0.0, 1.1, -6.0]]
TARGETS = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.25, 0.6]]
SETTINGS = [
    (0, 4, 0.05),
    (1, 4, 0.05),
    (0, 0, 0),
    (2, 3, 0),
    (0.5, 0.5, 0.2),
    # the margin is met exactly, by a logit of 0
    (0.5, 0.5, 0.5),
]
GROUPS = [
    f'gneg{settings}/{focal}'
    for settings in ('0_gpos0_clip0', '4_gpos0_clip0.05', '4_gpos1_clip0.05')
    for focal in ('detached_focal', 'focal_in_graph')
]


def oracle(x, y, gamma_pos, gamma_neg, clip):
    """One entry from the definition."""
    p = 1 / (1 + math.exp(-x))
    q = min(1 - p + clip, 1)
    pos = (1 - p) ** gamma_pos * math.log(p)
    return -y * pos - (1 - y) * (1 - q) ** gamma_neg * math.log(q)


@pytest.fixture
def batch():
    return (
        torch.tensor(LOGITS, dtype=torch.float64),
        torch.tensor(TARGETS, dtype=torch.float64),
    )


@pytest.fixture(scope='module')
def reference():
    return {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(DATA).items()}


# --- values ---------------------------------------------------------------------


@pytest.mark.parametrize(('gamma_pos', 'gamma_neg', 'clip'), SETTINGS)
def test_values(batch, gamma_pos, gamma_neg, clip):
    """Also of targets between 0 and 1, which mix the terms of 0 and 1."""
    expected = torch.tensor(
        [
            [oracle(x, y, gamma_pos, gamma_neg, clip) for x, y in zip(xs, ys)]
            for xs, ys in zip(LOGITS, TARGETS)
        ],
        dtype=torch.float64,
    )
    loss = MODELS.build(
        dict(
            type='StableAsymmetricLoss',
            gamma_pos=gamma_pos,
            gamma_neg=gamma_neg,
            clip=clip,
            loss_weight=0.5,
        )
    )
    expected *= 0.5
    none = loss(*batch, reduction_override='none')
    torch.testing.assert_close(none, expected, rtol=1e-12, atol=1e-15)
    for override, value in (
        (None, expected.mean()),
        ('mean', expected.mean()),
        ('sum', expected.sum()),
    ):
        result = loss(*batch, reduction_override=override)
        torch.testing.assert_close(result, value, rtol=1e-12, atol=0)
    weight = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    result = loss(*batch, weight=weight, avg_factor=3)
    torch.testing.assert_close(result, expected[0].sum() / 3, rtol=1e-12, atol=0)


def test_defaults(batch):
    loss = StableAsymmetricLoss()
    assert torch.equal(loss(*batch), asymmetric_loss(*batch, 0, 4, 0.05, True).mean())
    assert repr(loss) == (
        'StableAsymmetricLoss(gamma_pos=0.0, gamma_neg=4.0, clip=0.05, '
        'detach_focal=True, loss_weight=1.0)'
    )


@pytest.mark.parametrize('detach_focal', [True, False])
@pytest.mark.parametrize('scale', [1, 10, 1e3])
def test_is_bce_without_exponents_and_margin(batch, scale, detach_focal):
    logits, targets = batch
    logits = (logits * scale).requires_grad_()
    expected = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    loss = asymmetric_loss(logits, targets, 0, 0, 0, detach_focal)
    # At -32 torch's is 12% too large: 1.42e-14 in place of exp(-32).
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=2e-15)
    ours, theirs = (
        torch.autograd.grad(value.sum(), logits)[0] for value in (loss, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(('gamma_pos', 'gamma_neg', 'clip'), SETTINGS)
def test_same_as_mmpretrain(gamma_pos, gamma_neg, clip):
    """At logits that theirs can take, with the gradient through the focal factor."""
    options = dict(gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)
    theirs = MODELS.build(dict(type='AsymmetricLoss', **options))
    ours = StableAsymmetricLoss(**options, detach_focal=False)
    # Below the margin theirs has no finite gradient for exponents below 1.
    low = 0.1 if 0 < gamma_neg < 1 else -6
    x = torch.linspace(low, 6, 24, dtype=torch.float64).view(4, 6).requires_grad_()
    y = (torch.arange(24).view(4, 6) % 3 == 0).double()
    for override in ('none', 'mean', 'sum'):
        a, b = (loss(x, y, reduction_override=override) for loss in (ours, theirs))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    a, b = (torch.autograd.grad(loss(x, y), x)[0] for loss in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


# --- the reference --------------------------------------------------------------


@pytest.mark.parametrize('group', GROUPS)
def test_reference(reference, group):
    """Equal, but for entries where a probability is cut off there at eps."""
    settings, focal = group.split('/')
    gamma_pos, gamma_neg, clip, eps = (
        float(reference[f'asl/{settings}/{name}'])
        for name in ('gamma_pos', 'gamma_neg', 'clip', 'eps')
    )
    x, y = reference['asl/logits'].clone().requires_grad_(), reference['asl/labels']
    loss = asymmetric_loss(x, y, gamma_pos, gamma_neg, clip, focal == 'detached_focal')
    loss.sum().backward()
    p = x.detach().sigmoid()
    cut = torch.where(y == 1, p, 1 - p + clip) < eps
    # The positive at -20; none of the negatives is as wrong.
    assert cut.nonzero().tolist() == [[3, 2]]
    theirs = loss.detach().where(
        ~cut, -math.log(eps) * (1 - p).where(y == 1, 1) ** gamma_pos
    )
    torch.testing.assert_close(
        theirs.sum(), reference[f'asl/{group}/loss'], rtol=1e-11, atol=0
    )
    grad = reference[f'asl/{group}/grad_logits']
    torch.testing.assert_close(x.grad[~cut], grad[~cut], rtol=1e-8, atol=1e-9)


def test_deviation_from_the_reference(reference):
    """Beyond eps the loss goes on, with a gradient, where theirs is constant."""
    x = torch.tensor([[-20.0, 20.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[1, 0]])
    loss = asymmetric_loss(x, y, clip=0)
    torch.testing.assert_close(
        loss, torch.full_like(x, 20.0), rtol=1e-7, atol=0, check_stride=False
    )
    loss.sum().backward()
    torch.testing.assert_close(
        x.grad, torch.tensor([[-1.0, 1.0]], dtype=torch.float64), rtol=1e-7, atol=0
    )
    assert -math.log(float(reference['asl/gneg0_gpos0_clip0/eps'])) < 19


# --- precision ------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('size', [17, 20, 50])
@pytest.mark.parametrize('clip', [0, 0.05])
@pytest.mark.parametrize('detach_focal', [True, False])
def test_wrong_side_has_a_gradient(dtype, size, clip, detach_focal):
    x = torch.tensor([[-size, size]], dtype=dtype, requires_grad=True)
    y = torch.tensor([[1, 0]])
    options = dict(gamma_pos=1, clip=clip, detach_focal=detach_focal)
    loss = StableAsymmetricLoss(**options)(x, y, reduction_override='sum')
    assert loss.dtype == torch.float32 and loss.isfinite()
    loss.backward()
    # A margin of 0.05 holds the negative at log 0.05: its gradient is small, not 0.
    expected = 1.0 if clip == 0 else 0.95**4 * math.exp(-size) / 0.05
    assert x.grad[0, 0].item() == pytest.approx(-1, rel=1e-3)
    # float16 holds multiples of 6e-8.
    step = 6e-8 if dtype == torch.float16 else 0
    assert x.grad[0, 1].item() == pytest.approx(expected, rel=1e-2, abs=step)


def test_what_it_is_in_place_of():
    """MMPretrain's in float16, and at a logit of 20 in float32."""
    theirs = MODELS.build(dict(type='AsymmetricLoss', gamma_pos=0.0, clip=0))
    y = torch.tensor([[1.0, 0.0]])
    for size, dtype in ((20, torch.float32), (20, torch.float16)):
        x = torch.tensor([[-size, size]], dtype=dtype, requires_grad=True)
        loss = theirs(x, y.to(dtype))
        (grad,) = torch.autograd.grad(loss, x)
        if dtype == torch.float16:
            assert not loss.isfinite() and not grad.isfinite().all()
        else:
            assert not grad.any()
    assert StableAsymmetricLoss(clip=0)(x, y).isfinite()


@pytest.mark.parametrize(('gamma_pos', 'gamma_neg', 'clip'), SETTINGS)
@pytest.mark.parametrize('detach_focal', [True, False])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_finite_everywhere(gamma_pos, gamma_neg, clip, detach_focal, dtype):
    sizes = [0, 1e-4, 0.5, 2.94, 2.95, 5, 20, 90, 110, 1e4, 6e4]
    if clip:
        # where the probability is the margin itself
        sizes += [math.log(1 / clip - 1), *np.linspace(2.9444, 2.9445, 9)]
    x = torch.tensor([[s, -s] for s in sizes], dtype=dtype)
    for value in (0.0, 0.3, 1.0):
        leaf = x.clone().requires_grad_()
        loss = asymmetric_loss(
            leaf,
            torch.full_like(x, value),
            gamma_pos,
            gamma_neg,
            clip,
            detach_focal,
        )
        assert loss.isfinite().all() and (loss >= 0).all()
        # Nor is there a nan on the way, which a later operation may mask.
        with torch.autograd.set_detect_anomaly(True):
            loss.sum().backward()
        assert leaf.grad.isfinite().all()


def test_negatives_below_the_margin_add_nothing():
    x = torch.linspace(-9, -2.9445, 999, requires_grad=True)[None]
    for detach_focal in (True, False):
        for gamma_neg in (0.5, 4):
            loss = asymmetric_loss(
                x, torch.zeros_like(x), 0, gamma_neg, 0.05, detach_focal
            )
            (grad,) = torch.autograd.grad(loss.sum(), x)
            assert not loss.any() and not grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(batch, dtype):
    logits, targets = batch[0].to(dtype), batch[1].to(dtype)
    loss = StableAsymmetricLoss(gamma_pos=1)
    expected = loss(logits.float(), targets.float())
    assert torch.equal(loss(logits, targets), expected)
    with torch.autocast('cpu', dtype=dtype):
        assert torch.equal(loss(logits.float(), targets), expected)
    assert loss(batch[0], batch[1].float()).dtype == torch.float64


@pytest.mark.parametrize(('gamma_pos', 'gamma_neg', 'clip'), SETTINGS)
def test_gradcheck(batch, gamma_pos, gamma_neg, clip):
    logits, targets = batch
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: asymmetric_loss(x, targets, gamma_pos, gamma_neg, clip, False),
        logits,
    )


@pytest.mark.parametrize(('gamma_pos', 'gamma_neg', 'clip'), SETTINGS)
def test_gradient_with_detached_focal(batch, gamma_pos, gamma_neg, clip):
    """That of the logarithms, times the factors."""
    logits, targets = batch
    logits.requires_grad_()
    asymmetric_loss(logits, targets, gamma_pos, gamma_neg, clip).sum().backward()
    p = logits.detach().sigmoid()
    q = (1 - p + clip).clamp(max=1)
    pos = (1 - p) ** (gamma_pos + 1)
    neg = ((1 - q) ** gamma_neg * p * (1 - p) / q).where(q < 1, 0)
    torch.testing.assert_close(
        logits.grad, (1 - targets) * neg - targets * pos, rtol=1e-11, atol=1e-14
    )


# --- errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(gamma_pos=-1), 'gamma_pos must be finite and not negative, got -1'),
        (dict(gamma_neg=math.nan), 'gamma_neg must be .* got nan'),
        (dict(clip=1), 'clip must be 0 or more and below 1, got 1'),
        (dict(clip=-0.1), 'clip must be .* got -0.1'),
    ],
)
def test_bad_options(batch, options, message):
    with pytest.raises(ValueError, match=message):
        StableAsymmetricLoss(**options)
    with pytest.raises(ValueError, match=message):
        asymmetric_loss(*batch, **options)


def test_errors(batch):
    loss = StableAsymmetricLoss()
    with pytest.raises(ValueError, match='avg_factor'):
        loss(*batch, avg_factor=2, reduction_override='sum')
    with pytest.raises(ValueError, match='median'):
        loss(*batch, reduction_override='median')
    # It would broadcast.
    with pytest.raises(ValueError, match=r'one shape, got \(2, 4\) and \(2, 1\)'):
        loss(batch[0], batch[1][:, :1])
    expected = r'expected 1 \(present\) or 0 \(absent\), or a soft .* 0 and 1\.'
    for value, hint in ((-1.0, ' Unknown labels'), (1.5, '$'), (math.nan, '$')):
        batch[1][1, 2] = value
        message = f'^Targets hold {value}, {expected}{hint}'
        with pytest.raises(ValueError, match=message):
            loss(*batch)
