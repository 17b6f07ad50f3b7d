# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mlcl_plugin.models.heads.cgmvae_head import LOG_VAR_LIMIT, CGMVAEHead
from mlcl_plugin.models.losses.gaussian_mixture_kl_loss import GaussianMixtureKLLoss
from mlcl_plugin.models.losses.label_embedding_contrastive_loss import (
    LabelEmbeddingContrastiveLoss,
)

DATA = Path(__file__).parents[2] / 'data' / 'cgmvae_reference.npz'
# 1 present, 0 absent, -1 unknown; the second image has no label, the last only
# unknown ones.
TARGETS = [
    [1, 0, -1, 1, 0],
    [0, 0, 0, 0, 0],
    [1, -1, 1, 0, 0],
    [-1, -1, -1, -1, -1],
]
LOSSES = {'loss_cls', 'loss_kl', 'loss_contrastive'}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(**kwargs):
    args = dict(num_classes=5, in_channels=6, latent_dims=3, embed_dims=12, dropout=0.0)
    return CGMVAEHead(**{**args, **kwargs}).double()


def vectors(num_images=4, width=6):
    return torch.randn(num_images, width, dtype=torch.float64, requires_grad=True)


def samples(targets=TARGETS):
    return [DataSample().set_gt_score(torch.tensor(row).float()) for row in targets]


def reference_data():
    return {
        k.split('/')[1]: torch.from_numpy(np.asarray(v))
        for k, v in np.load(DATA).items()
    }


# --- the network ----------------------------------------------------------------


def test_logits_by_hand():
    """Layer by layer: x to the latent mean, both to a unit vector, to the labels."""
    head, x = build().eval(), vectors()
    layers = [m for m in head.feature_encoder if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [
        (6, 256),
        (256, 512),
        (512, 256),
        (256, 6),
    ]
    hidden = x
    for layer in layers[:3]:
        hidden = (hidden @ layer.weight.t() + layer.bias).clamp(min=0)
    mean = (hidden @ layers[3].weight.t() + layers[3].bias)[:, :3]
    first, second = (m for m in head.decoder if isinstance(m, nn.Linear))
    assert (first.out_features, second.out_features) == (512, 12)
    hidden = torch.cat([x, mean], dim=1) @ first.weight.t() + first.bias
    decoded = hidden.clamp(min=0) @ second.weight.t() + second.bias
    decoded = torch.where(decoded > 0, decoded, 0.01 * decoded)
    decoded = decoded / decoded.square().sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(head.pre_logits((x,)), decoded)
    torch.testing.assert_close(head((x,)), decoded @ head.label_layer.weight)


def test_label_encoder_takes_one_hot_vectors():
    head = build()
    hidden = head.label_layer(torch.eye(5, dtype=torch.float64))
    encoded = head.label_encoder(hidden)
    mean, log_var = head.encode_labels()
    assert mean.shape == log_var.shape == (5, 3)
    torch.testing.assert_close(torch.cat([mean, log_var], dim=1), encoded)
    layers = [m for m in head.label_encoder if isinstance(m, nn.Linear)]
    assert [m.out_features for m in layers] == [512, 256, 6]
    assert head.label_embeddings.shape == (12, 5)


def test_prediction_needs_no_labels_and_is_deterministic():
    head, x = build(dropout=0.5).eval(), vectors()
    torch.manual_seed(1)
    first = head((x,))
    torch.manual_seed(2)
    assert torch.equal(first, head((torch.zeros(1), x)))
    # The label encoder plays no part.
    nn.init.zeros_(head.label_encoder[-1].weight)
    assert torch.equal(first, head((x,)))
    for sample, row in zip(head.predict((x,)), first):
        torch.testing.assert_close(sample.pred_score, row.sigmoid())


def test_variances_are_clamped():
    head = build()
    with torch.no_grad():
        head.feature_encoder[-1].bias[3:] = torch.tensor([1e4, -1e4, 0.0])
    _, log_var = head._gaussian(head.feature_encoder(vectors()))
    assert (log_var[:, 0] == LOG_VAR_LIMIT).all()
    assert (log_var[:, 1] == -LOG_VAR_LIMIT).all()
    assert (log_var[:, 2].abs() < 5).all()
    losses = head.float().loss((vectors().float(),), samples())
    assert all(value.isfinite() for value in losses.values())


def test_published_sizes():
    with torch.device('meta'):
        head = MODELS.build(dict(type='CGMVAEHead', num_classes=38, in_channels=1000))
    assert head.label_embeddings.shape == (2048, 38)
    assert head.decoder[0].in_features == 1064
    dropouts = [m.p for m in head.modules() if isinstance(m, nn.Dropout)]
    assert dropouts == [0.5] * 6
    assert head.loss_module.loss_weight == 0.5
    assert head.kl_module.loss_weight == 6
    assert head.contrastive_module.loss_weight == 1
    assert head.contrastive_module.temperature == 1
    assert head.loss_reduction == 'batch'


# --- losses ---------------------------------------------------------------------


def test_reference(monkeypatch):
    """Total loss and its gradients, of the authors' implementation.

    All that is in front of the losses there are independent inputs.
    """
    data = reference_data()
    names = ('mu_x', 'logvar_x', 'mu_l', 'logvar_l', 'w_y', 'w_x1', 'w_x2')
    inputs = {name: data[name].clone().requires_grad_() for name in names}
    num_images, num_classes = data['labels'].shape
    head = CGMVAEHead(
        num_classes, 4, latent_dims=data['mu_x'].size(1), embed_dims=len(data['W'])
    )
    head.label_layer.weight = nn.Parameter(data['W'])
    inputs['W'] = head.label_layer.weight
    gaussian = torch.cat([inputs['mu_x'], inputs['logvar_x']], dim=1)
    decoded = iter([inputs['w_y'], inputs['w_x1'], inputs['w_x2']])
    monkeypatch.setattr(head.feature_encoder, 'forward', lambda _: gaussian)
    monkeypatch.setattr(
        head, 'encode_labels', lambda: (inputs['mu_l'], inputs['logvar_l'])
    )
    monkeypatch.setattr(head, 'decode', lambda x, z: next(decoded))
    # Of the three draws only that of the divergence matters.
    monkeypatch.setattr(torch, 'randn_like', lambda _: data['noise'])

    losses = head.loss((torch.zeros(num_images, 4),), samples(data['labels'].tolist()))

    def assert_equal(ours, theirs, msg=None):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10, msg=msg)

    nll = sum(data[f'loss_nll_{name}'] for name in ('y', 'x1', 'x2'))
    assert_equal(losses['loss_cls'], 0.5 * nll)
    assert_equal(losses['loss_kl'], 6 * data['loss_kl'])
    assert_equal(losses['loss_contrastive'], data['loss_contrastive'])
    total = sum(losses.values())
    assert_equal(total, data['loss_total'])
    for name, grad in zip(inputs, torch.autograd.grad(total, list(inputs.values()))):
        assert_equal(grad, data[f'grad_total_{name}'], msg=name)


def bce(logit, target):
    """Binary cross-entropy of one entry, stable, on plain floats."""
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


@pytest.mark.parametrize(
    'targets',
    [
        TARGETS,
        [[1, 0, 1, 0, 0]],
        [[0] * 5] * 2,
        # one label an image
        [[0, 1, 0, 0, 0], [-1, -1, -1, 1, 0]],
    ],
)
def test_losses_by_hand(targets, monkeypatch):
    """All branches, from the parts that are tested above."""
    head, x = build(), vectors(len(targets))
    draws = torch.randn(3, len(targets), 3, dtype=torch.float64)
    left = list(draws)
    monkeypatch.setattr(torch, 'randn_like', lambda _: left.pop(0))
    losses = head.loss((x,), samples(targets))
    assert set(losses) == LOSSES and not left

    mean, log_var = head.feature_encoder(x).chunk(2, dim=1)
    label_means, label_log_vars = head.encode_labels()
    z_y = torch.zeros(len(targets), 3, dtype=torch.float64)
    for image, row in enumerate(targets):
        labels = [j for j, y in enumerate(row) if y == 1]
        # an image without label: 0
        if labels:
            z_y[image] = label_means[labels].mean(dim=0)
    z1, z2, z = mean + log_var.exp().sqrt() * draws
    decoded = [head.decode(x, latent) for latent in (z_y, z1, z2)]
    nll = 0.0
    for w in decoded:
        logits = (w @ head.label_embeddings).tolist()
        nll += sum(
            bce(logits[b][j], y)
            for b, row in enumerate(targets)
            for j, y in enumerate(row)
            if y >= 0
        )
    expected = dict(
        loss_cls=0.5 * nll / len(targets),
        loss_kl=GaussianMixtureKLLoss(6.0)(
            z, mean, log_var, label_means, label_log_vars, torch.tensor(targets)
        ).item(),
        loss_contrastive=LabelEmbeddingContrastiveLoss()(
            torch.cat(decoded[:2]), head.label_embeddings, torch.tensor(targets * 2)
        ).item(),
    )
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-9), name


def test_unknown_labels_change_nothing():
    """A label that is unknown of all images might as well not be there."""
    head, smaller = build(num_classes=3), build(num_classes=2)
    state = head.state_dict()
    state['label_layer.weight'] = state['label_layer.weight'][:, :2]
    smaller.load_state_dict(state)
    x = vectors(2)
    results = []
    for model, targets in (
        (head, [[1, 0, -1], [0, 1, -1]]),
        (smaller, [[1, 0], [0, 1]]),
    ):
        torch.manual_seed(1)
        results.append(model.loss((x,), samples(targets)))
    for name in LOSSES:
        torch.testing.assert_close(results[0][name], results[1][name])


def test_gt_label_equals_gt_score():
    results = []
    for annotated in (
        samples([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0]]),
        [DataSample().set_gt_label([3, 0]), DataSample().set_gt_label([2])],
    ):
        torch.manual_seed(0)
        results.append(build().loss((vectors(2),), annotated))
    assert all(torch.equal(results[0][name], results[1][name]) for name in LOSSES)


@pytest.mark.parametrize(
    'targets',
    [TARGETS, [[1] * 5], [[0] * 5] * 2, [[-1] * 5] * 2, [[0, 0, 1, 0, 0], [0] * 5]],
    ids=['mixed', 'all_present', 'no_label', 'all_unknown', 'one_positive'],
)
def test_every_parameter_gets_a_finite_gradient(targets):
    """Or else distributed training waits for it."""
    head = build().float()
    losses = head.loss((torch.randn(len(targets), 6),), samples(targets))
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    if not any(1 in row for row in targets):
        assert losses['loss_kl'].item() == losses['loss_contrastive'].item() == 0
        assert not head.label_encoder[-1].weight.grad.any()
    else:
        assert losses['loss_kl'].item() != 0
        assert head.label_encoder[-1].weight.grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    """Halved inputs of a backbone; losses in float32, close to full precision."""
    x = torch.randn(4, 6)
    results = []
    for enabled in (False, True):
        torch.manual_seed(1)
        head = build().float()
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            torch.manual_seed(2)
            losses = head.loss((x.to(dtype) if enabled else x,), samples())
        sum(losses.values()).backward()
        assert all(value.dtype == torch.float32 for value in losses.values())
        assert all(p.grad.isfinite().all() for p in head.parameters())
        results.append(losses)
    for name in LOSSES:
        torch.testing.assert_close(
            results[0][name], results[1][name], rtol=0.05, atol=0.05
        )


def test_model_in_half_precision():
    head = build().bfloat16()
    losses = head.loss((vectors().bfloat16(),), samples())
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())


def test_trains_through_the_classifier():
    """Feature maps, pooled: the losses fall and the training images are recognised."""
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
            head=dict(
                type='CGMVAEHead',
                num_classes=5,
                in_channels=8,
                latent_dims=4,
                embed_dims=64,
                dropout=0.1,
            ),
        )
    )
    images = torch.randn(4, 3, 16, 16)
    targets = [[1, 0, -1, 1, 0], [0, 1, 0, 0, 0], [1, -1, 1, 0, 0], [0, 0, 0, 0, 1]]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(60):
        losses = model(images, samples(targets), mode='loss')
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-5:]) < 0.5 * sum(totals[:5])
    model.train()  # batch norm of these four images
    model.head.eval()
    for sample, row in zip(model(images, samples(targets), mode='predict'), targets):
        for score, y in zip(sample.pred_score.tolist(), row):
            assert y < 0 or (score > 0.5) == (y == 1)


# --- bad input ------------------------------------------------------------------


@pytest.mark.parametrize('shape', [(4, 5), (4, 6, 1, 1), (6,)])
def test_bad_features(shape):
    head = build()
    with pytest.raises(ValueError, match=r'in_channels=6\), got .*GlobalAverage'):
        head((torch.zeros(shape).double(),))
    with pytest.raises(ValueError, match='in_channels=6'):
        head.loss((torch.zeros(shape).double(),), samples())


def test_bad_targets():
    with pytest.raises(ValueError, match=r'\(2,\), expected \(5,\).*num_classes=5'):
        build().loss((vectors(1),), samples([[1, 0]]))
    with pytest.raises(ValueError, match='Got 3 images but 4 data samples'):
        build().loss((vectors(3),), samples())


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('num_classes', 0),
        ('in_channels', 0),
        ('latent_dims', 0),
        ('embed_dims', -1),
        ('dropout', 1.0),
        ('dropout', -0.1),
        ('loss_reduction', 'average'),
    ],
)
def test_bad_options(option, value):
    with pytest.raises(ValueError, match=f'{option}.*{value}'):
        build(**{option: value})
