# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmpretrain.models.heads import CSRAClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mlcl_plugin.models.heads.partial_label_csra_head import PartialLabelCSRAHead
from mlcl_plugin.models.losses.asymmetric_loss import StableAsymmetricLoss

TARGETS = [[1, 0, -1, 1, 0], [0, 0, 0, 0, 0], [-1, -1, -1, -1, -1], [0, 1, 1, -1, 1]]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(num_heads=2, **kwargs):
    args = dict(num_classes=5, in_channels=6, num_heads=num_heads, lam=0.3)
    return PartialLabelCSRAHead(**{**args, **kwargs}).double()


def features(number=4):
    return torch.randn(number, 6, 2, 3, dtype=torch.float64, requires_grad=True)


def samples(targets=TARGETS):
    return [DataSample().set_gt_score(torch.tensor(row).float()) for row in targets]


def bce(logit, target):
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


@pytest.mark.parametrize('num_heads', [1, 2, 4, 6, 8])
def test_is_mmpretrains(num_heads):
    """Logits, gradients, predictions and names of parameters."""
    theirs = CSRAClsHead(5, 6, num_heads, 0.3).double()
    ours = MODELS.build(
        dict(
            type='PartialLabelCSRAHead',
            num_classes=5,
            in_channels=6,
            num_heads=num_heads,
            lam=0.3,
        )
    ).double()
    ours.load_state_dict(theirs.state_dict())
    assert {key.split('.')[0] for key in ours.state_dict()} == {'csra_heads'}
    x = features()
    feats = (torch.zeros(1), x)
    logits, expected = ours(feats), theirs(feats)
    assert logits.shape == (4, 5)
    torch.testing.assert_close(logits, expected, rtol=1e-13, atol=0)
    cotangent = torch.randn_like(logits)
    a, b = (
        torch.autograd.grad((v * cotangent).sum(), x)[0] for v in (logits, expected)
    )
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    for a, b in zip(ours.predict(feats), theirs.predict(feats)):
        torch.testing.assert_close(a.pred_score, b.pred_score)
        assert torch.equal(a.pred_label, b.pred_label)


@pytest.mark.parametrize('targets', [TARGETS[:2], TARGETS[:1] * 4])
def test_batch_reduction_is_mmpretrains_loss(targets):
    """Where all is known."""
    targets = [[abs(value) for value in row] for row in targets]
    theirs = CSRAClsHead(5, 6, 2, 0.3).double()
    ours = build(loss_reduction='batch')
    ours.load_state_dict(theirs.state_dict())
    x = features(len(targets))
    torch.testing.assert_close(
        ours.loss((x,), samples(targets))['loss_cls'],
        theirs.loss((x,), samples(targets))['loss'],
        check_dtype=False,
    )


def test_logits_by_hand():
    """Of two heads: softmax attention at temperature 1, and the maximum."""
    head, x = build(), features()
    logits = head((x,))
    for b in range(4):
        for label in range(5):
            expected = 0.0
            for part, is_max in zip(head.csra_heads, (False, True)):
                weight = part.head.weight[label].flatten()
                scores = [
                    (weight @ place / weight.norm()).item()
                    for place in x[b].flatten(1).T
                ]
                top = max(scores)
                if not is_max:
                    shares = [math.exp(s) for s in scores]
                    top = sum(s * e for s, e in zip(scores, shares)) / sum(shares)
                expected += sum(scores) / 6 + 0.3 * top
            assert logits[b, label].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ('reduction', 'divisor'), [('mean', 13), ('batch', 4), ('sum', 1)]
)
def test_unknown_labels(reduction, divisor):
    head, x = build(loss_reduction=reduction), features()
    logits = head((x,)).tolist()
    known = [
        bce(logits[b][j], y)
        for b, row in enumerate(TARGETS)
        for j, y in enumerate(row)
        if y != -1
    ]
    assert len(known) == 13
    losses = head.loss((x,), samples())
    assert set(losses) == {'loss_cls'}
    assert losses['loss_cls'].item() == pytest.approx(sum(known) / divisor)
    losses['loss_cls'].backward()
    # Nothing is known of the third image.
    assert torch.equal(x.grad[2], torch.zeros_like(x.grad[2]))
    assert all(x.grad[b].any() for b in (0, 1, 3))


@pytest.mark.parametrize('targets', [[[0] * 5] * 2, [[-1] * 5] * 2, [[1] * 5]])
def test_degenerate_batches(targets):
    head, x = build(num_heads=4), features(len(targets))
    loss = head.loss((x,), samples(targets))['loss_cls']
    loss.backward()
    assert loss.isfinite() and (loss == 0) == (targets[0][0] == -1)
    for parameter in head.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_gradcheck():
    head = build()
    assert torch.autograd.gradcheck(
        lambda x: head.loss((x,), samples())['loss_cls'], features()
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    head, x = build(loss=StableAsymmetricLoss()).float(), features().float()
    expected = head.loss((x,), samples())['loss_cls']
    with torch.autocast('cpu', dtype):
        result = head.loss((x,), samples())['loss_cls']
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0.05, atol=0)


def test_initialization_is_mmpretrains():
    """Theirs names linear layers; what both start from is torch's for convolutions."""
    results = []
    for make in (CSRAClsHead, PartialLabelCSRAHead):
        torch.manual_seed(3)
        head = make(num_classes=5, in_channels=6, num_heads=4, lam=0.3)
        head.init_weights()
        results.append(head.state_dict())
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name])


def test_training_step():
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='ResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
                num_stages=1,
                strides=(1,),
                dilations=(1,),
                out_indices=(0,),
            ),
            head=dict(
                type='PartialLabelCSRAHead',
                num_classes=5,
                in_channels=8,
                num_heads=2,
                lam=0.2,
            ),
        )
    )
    model.init_weights()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, losses = torch.randn(4, 3, 32, 32), []
    for _ in range(4):
        loss = sum(model.loss(x, samples()).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert len(model.eval().predict(x)[0].pred_score) == 5


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_classes=0), 'num_classes'),
        (dict(in_channels=0), 'in_channels=0'),
        (dict(num_heads=3), r'one of \[1, 2, 4, 6, 8\], got 3'),
        (dict(lam=0), 'lam must be positive, got 0'),
        (dict(lam=math.nan), 'lam must be positive, got nan'),
        (dict(loss_reduction='none'), "got 'none'"),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        build(**args)


@pytest.mark.parametrize('shape', [(2, 6), (2, 7, 3, 3), (2, 3, 6), (6, 3, 3)])
def test_bad_features(shape):
    x = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match='in_channels=6') as error:
        build()((x,))
    assert f'got {shape}' in str(error.value)


def test_bad_targets():
    with pytest.raises(ValueError, match='label 5'):
        build().loss((features(1),), [DataSample().set_gt_label([5])])
    with pytest.raises(ValueError, match='4 images but 1 data samples'):
        build().loss((features(),), samples()[:1])


def test_loss_modules_are_taken_as_they_are():
    loss = nn.BCEWithLogitsLoss()
    assert build(loss=loss).loss_module is loss
