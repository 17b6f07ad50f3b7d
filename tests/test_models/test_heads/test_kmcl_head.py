# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.models.heads.kmcl_head import KMCLHead
from mlcl_plugin.models.losses.asymmetric_loss import asymmetric_loss
from mlcl_plugin.models.losses.kernel_contrastive_loss import (
    KernelContrastiveLoss,
    kernel_contrastive_loss,
)
from mlcl_plugin.models.losses.kernel_reconstruction_loss import (
    kernel_reconstruction_loss,
)

DATA = Path(__file__).parents[2] / 'data' / 'kmcl_reference.npz'
# 1 present, 0 absent, -1 unknown; the second image has no label, the last only
# unknown ones.
TARGETS = [
    [1, 0, -1, 1, 0],
    [0, 0, 0, 0, 0],
    [1, -1, 1, 0, 0],
    [-1, -1, -1, -1, -1],
]
LOSSES = {'loss_cls', 'loss_reconstruction', 'loss_contrastive'}
KERNELS = pytest.mark.parametrize(
    'anisotropic', [False, True], ids=['isotropic', 'anisotropic']
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(**kwargs):
    return KMCLHead(**{**dict(num_classes=5, in_channels=6), **kwargs}).double()


def features(num_images=4, width=6):
    return torch.randn(num_images, width, dtype=torch.float64, requires_grad=True)


def samples(targets=TARGETS):
    return [DataSample().set_gt_score(torch.tensor(row).float()) for row in targets]


@KERNELS
def test_kernels_by_hand(anisotropic):
    head, x = build(anisotropic=anisotropic), features()
    means, variances = head.kernels(x)
    assert means.shape == variances.shape == ((4, 6, 5) if anisotropic else (4, 5))
    for values, layer in ((means, head.fc_mean), (variances, head.fc_variance)):
        raw = x @ layer.weight.t() + layer.bias
        if layer is head.fc_variance:
            raw = 2 + 1e-7 + torch.where(raw > 0, raw, raw.exp() - 1)
        # coordinate by coordinate, within one the classes
        torch.testing.assert_close(values.reshape(4, -1), raw)
    assert variances.min() > 1
    torch.testing.assert_close(
        head((torch.zeros(1), x)), x @ head.fc_pi.weight.t() + head.fc_pi.bias
    )
    assert torch.equal(head.pre_logits((torch.zeros(1), x)), x)


@KERNELS
def test_losses_by_hand(anisotropic):
    head, x = build(anisotropic=anisotropic), features()
    losses = head.loss((x,), samples())
    assert set(losses) == LOSSES
    targets, logits = torch.tensor(TARGETS), head((x,))
    kernels = head.kernels(x)
    entries = asymmetric_loss(
        logits, targets.clamp(min=0).double(), 1, 4, 0.05, detach_focal=False
    )
    expected = dict(
        loss_cls=entries[targets >= 0].sum(),
        loss_reconstruction=kernel_reconstruction_loss(x, logits, *kernels, targets),
        # The published distance: the number of features in either case.
        loss_contrastive=kernel_contrastive_loss(*kernels, targets, 0.17, 6),
    )
    for name, value in expected.items():
        assert value > 0
        torch.testing.assert_close(losses[name], value)


@pytest.mark.parametrize('group', ['kmcl', 'kmcl_anisotropic'])
def test_reference(group, monkeypatch):
    """The total loss of the authors' implementation, and all gradients."""
    data = {
        k.split('/')[1]: torch.from_numpy(np.asarray(v))
        for k, v in np.load(DATA).items()
        if k.startswith(f'{group}/')
    }
    num_dims, num_classes = data['features'].size(1), data['labels'].size(1)
    inputs = {
        name: data[name].clone().requires_grad_()
        for name in ('features', 'logits', 'mu', 'var')
    }
    anisotropic = group == 'kmcl_anisotropic'
    # Everything in front of the losses is given.
    head = build(num_classes=num_classes, in_channels=num_dims, anisotropic=anisotropic)
    monkeypatch.setattr(head.fc_pi, 'forward', lambda _: inputs['logits'])
    monkeypatch.setattr(head.fc_mean, 'forward', lambda _: inputs['mu'])
    # The inverse of ELU, for variances above 1.
    raw = inputs['var'] - 2 - 1e-7
    raw = torch.where(raw > 0, raw, raw.clamp(max=0).log1p())
    monkeypatch.setattr(head.fc_variance, 'forward', lambda _: raw)
    losses = head.loss((inputs['features'],), samples(data['labels'].tolist()))

    def assert_equal(ours, theirs, msg=None):
        # ASL is formed from log-sigmoids here.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8, msg=msg)

    assert (data['gamma_pos'], data['gamma_neg'], data['clip']) == (1, 4, 0.05)
    assert not data['focal_weight_detached']
    # There, probabilities of positives are cut off, and have no gradient then.
    p = data['logits'].sigmoid()
    cut = (data['labels'] == 1) & (p < data['eps'])
    assert cut.sum() == 1
    excess = ((1 - p) * (data['eps'] / p).log())[cut].sum()
    assert_equal(losses['loss_cls'], data['loss_asl'] + excess)
    assert_equal(losses['loss_reconstruction'], data['loss_reconstruction'])
    assert_equal(losses['loss_contrastive'], data['loss_contrastive'])
    total = sum(losses.values())
    assert_equal(total, data['loss_total'] + excess)
    for name, grad in zip(inputs, torch.autograd.grad(total, list(inputs.values()))):
        terms = [k for k in data if k.startswith('grad_') and k.endswith(f'_{name}')]
        assert terms
        expected = sum(data[term] for term in terms)
        if name == 'logits':
            grad, expected = grad[~cut], expected[~cut]
        assert_equal(grad, expected, msg=name)


@KERNELS
def test_unknown_labels_get_no_gradient(anisotropic):
    head, x = build(anisotropic=anisotropic), features(3)
    targets = [[1, 0, -1, 1, 0], [1, 1, -1, 0, 0], [0, 1, -1, 1, 0]]
    sum(head.loss((x,), samples(targets)).values()).backward()
    for layer in (head.fc_pi, head.fc_mean, head.fc_variance):
        grad = layer.bias.grad.view(-1, 5).abs().sum(dim=0)
        assert grad[2] == 0 and grad[[0, 1, 3, 4]].all()


@KERNELS
@pytest.mark.parametrize(
    'targets',
    [TARGETS, [[1] * 5], [[0] * 5] * 2, [[-1] * 5] * 2, [[0, 0, 1, 0, 0], [0] * 5]],
    ids=['mixed', 'one_image', 'no_label', 'all_unknown', 'one_positive'],
)
def test_every_parameter_gets_a_finite_gradient(targets, anisotropic):
    """Or else distributed training waits for it."""
    head = build(anisotropic=anisotropic).float()
    losses = head.loss((torch.randn(len(targets), 6),), samples(targets))
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    shared = targets is TARGETS
    assert (losses['loss_contrastive'].item() == 0) == (not shared)


@KERNELS
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast(dtype, anisotropic):
    """Autocast changes nothing: only the features come in its precision."""
    head = build(anisotropic=anisotropic).float()
    x = torch.randn(4, 6).to(dtype)
    results = []
    for enabled in (False, True):
        head.zero_grad()
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            logits = head((x,))
            losses = head.loss((x,), samples())
        assert logits.dtype == torch.float32
        sum(losses.values()).backward()
        grads = [p.grad.clone() for p in head.parameters()]
        results.append([logits, *losses.values(), *grads])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_model_in_half_precision():
    head = build().bfloat16()
    losses = head.loss((features().bfloat16(),), samples())
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_defaults():
    head = MODELS.build(dict(type='KMCLHead', num_classes=80, in_channels=2048))
    assert isinstance(head, KMCLHead) and not head.anisotropic
    assert head.fc_mean.out_features == 80
    assert head.loss_reduction == 'sum'
    assert head.contrastive_module.temperature == 0.17
    assert (head.loss_module.gamma_pos, head.loss_module.gamma_neg) == (1, 4)
    given = KernelContrastiveLoss(times_dims=False)
    assert build(loss_contrastive=given).contrastive_module is given


def test_trains_through_the_classifier():
    """The losses fall and the training images are recognised."""
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
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='KMCLHead', num_classes=5, in_channels=8, anisotropic=True),
        )
    )
    images = torch.randn(4, 3, 16, 16)
    targets = [[1, 0, -1, 1, 0], [0, 1, 0, 0, 0], [1, -1, 1, 0, 0], [0, 0, 0, 0, 1]]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    totals = []
    for _ in range(60):
        total, _ = model.parse_losses(model(images, samples(targets), mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]
    for sample, row in zip(model(images, samples(targets), mode='predict'), targets):
        for score, y in zip(sample.pred_score.tolist(), row):
            assert y < 0 or (score > 0.5) == (y == 1)


@pytest.mark.parametrize('shape', [(4, 5), (4, 6, 1, 1), (6,)])
def test_bad_features(shape):
    head = build()
    for call in (head, lambda feats: head.loss(feats, samples())):
        with pytest.raises(ValueError, match=r'in_channels=6\), got .*GlobalAverage'):
            call((torch.zeros(shape).double(),))


def test_bad_targets():
    with pytest.raises(ValueError, match=r'\(2,\), expected \(5,\).*num_classes=5'):
        build().loss((features(1),), samples([[1, 0]]))
    with pytest.raises(ValueError, match='Got 3 images but 4 data samples'):
        build().loss((features(3),), samples())


@pytest.mark.parametrize('option', ['num_classes', 'in_channels'])
def test_bad_options(option):
    with pytest.raises(ValueError, match=f'{option}.*0'):
        build(**{option: 0})
