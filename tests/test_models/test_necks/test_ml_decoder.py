# SPDX-License-Identifier: Apache-2.0
"""ML-Decoder against tensors of its authors' implementation, and by itself.

``tests/data/ml_decoder_reference.npz`` holds inputs, random weights, logits and
gradients in float64; ``q2l_classifier`` are those of Query2Label's classifier.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.models import LabelWiseClsHead
from mlcl_plugin.models.necks.ml_decoder import MLDecoderNeck
from mlcl_plugin.models.utils import LabelWiseLinear

DATA = Path(__file__).parents[2] / 'data' / 'ml_decoder_reference.npz'
# Our parts to the reference's.
NAMES = {
    'queries': 'query_embed.weight',
    'input_proj.': 'embed_standart.',
    'norm.': 'layers.0.norm1.',
    'layer.attention.attention.': 'layers.0.multihead_attn.',
    'layer.attention.norm.': 'layers.0.norm2.',
    'layer.ffn.layers.0.0.': 'layers.0.linear1.',
    'layer.ffn.layers.1.': 'layers.0.linear2.',
    'layer.norm.': 'layers.0.norm3.',
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope='module')
def reference():
    return {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(DATA).items()}


def build(**kwargs):
    args = dict(
        num_classes=7,
        in_channels=6,
        embed_dims=8,
        num_heads=2,
        feedforward_channels=10,
        dropout=0.0,
    )
    return MLDecoderNeck(**{**args, **kwargs})


def reference_weight(reference, group, name):
    for ours, theirs in NAMES.items():
        if name.startswith(ours):
            key = f'weights/decoder.{theirs}{name.removeprefix(ours)}'
            # The two share their layer.
            return reference.get(f'{group}/{key}', reference.get(f'ml_decoder/{key}'))
    raise AssertionError(name)


def assert_equal(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize('group', ['ml_decoder', 'ml_decoder_full'])
def test_reference(reference, group):
    sizes = ('num_classes', 'num_groups', 'duplicate_factor', 'num_heads')
    num_classes, num_groups, size, num_heads = (
        int(reference[f'{group}/{name}']) for name in sizes
    )
    if group == 'ml_decoder':
        # Two of the outputs are those of no label.
        assert (num_classes, num_groups, size) == (13, 5, 3)
    pooling = reference[f'{group}/weights/decoder.duplicate_pooling']
    x = reference[f'{group}/x'].clone().requires_grad_()
    neck = MLDecoderNeck(
        num_classes,
        in_channels=x.size(1),
        embed_dims=pooling.size(1),
        num_groups=num_groups if size > 1 else None,
        num_heads=num_heads,
    )
    neck = neck.double().eval()
    neck.load_state_dict(
        {name: reference_weight(reference, group, name) for name in neck.state_dict()}
    )
    head = LabelWiseClsHead(num_classes, pooling.size(1), num_groups=neck.num_groups)
    head.double()
    with torch.no_grad():
        for label in range(num_classes):
            head.classifier.weight[label] = pooling[label // size, :, label % size]
        head.classifier.bias.copy_(
            reference[f'{group}/weights/decoder.duplicate_pooling_bias']
        )

    logits = head(neck(x))
    assert_equal(logits, reference[f'{group}/logits'])
    (logits * reference[f'{group}/cotangent']).sum().backward()
    assert_equal(x.grad, reference[f'{group}/grad_x'])
    gradient = reference[f'{group}/grad_duplicate_pooling']
    for label in range(num_classes):
        assert_equal(
            head.classifier.weight.grad[label],
            gradient[label // size, :, label % size],
        )


def test_reference_of_query2labels_classifier(reference):
    group = {
        key.removeprefix('q2l_classifier/'): value
        for key, value in reference.items()
        if key.startswith('q2l_classifier/')
    }
    layer = LabelWiseLinear(*group['weight'].shape[1:]).double()
    layer.weight.data, layer.bias.data = group['weight'][0], group['bias'][0]
    x = group['x'].clone().requires_grad_()
    logits = layer(x)
    assert_equal(logits, group['logits'])
    (logits * group['cotangent']).sum().backward()
    assert_equal(x.grad, group['grad_x'])
    assert_equal(layer.weight.grad, group['grad_weight'][0])
    assert_equal(layer.bias.grad, group['grad_bias'][0])


def test_registered_with_its_defaults():
    neck = MODELS.build(
        dict(type='MLDecoderNeck', num_classes=80, in_channels=64, num_groups=20)
    )
    assert neck.queries.shape == (20, 768) and neck.group_size == 4
    assert neck.layer.attention.num_heads == 8
    assert neck.layer.ffn.layers[1].weight.shape == (768, 2048)
    assert {m.p for m in neck.modules() if isinstance(m, nn.Dropout)} == {0.1}
    (out,) = neck(torch.randn(2, 64, 3, 3))
    assert out.shape == (2, 20, 768)


def test_queries_are_fixed():
    """Not trained, in the checkpoint, and the same whatever the seed."""
    neck = build(num_groups=3, embed_dims=64)
    assert 'queries' not in dict(neck.named_parameters())
    torch.manual_seed(1)
    other = build(num_groups=3, embed_dims=64)
    assert torch.equal(other.queries, neck.queries)
    assert not torch.equal(other.input_proj.weight, neck.input_proj.weight)
    assert neck.queries.std().item() == pytest.approx(1, rel=0.2)
    assert abs(neck.queries.mean().item()) < 0.2

    neck.queries.copy_(torch.randn(3, 64))
    other.load_state_dict(neck.state_dict())
    assert torch.equal(other.queries, neck.queries)
    before = neck.queries.clone()
    optimizer = torch.optim.SGD(neck.parameters(), lr=0.1)
    neck(torch.randn(2, 6, 2, 2))[0].square().sum().backward()
    optimizer.step()
    neck.init_weights()
    assert torch.equal(neck.queries, before)


def test_dropout_of_queries():
    """Q + dropout(Q): of the two one is dropped at times, the other never."""
    neck, seen = build(dropout=0.5), []
    neck.norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.randn(50, 6, 1, 1)
    neck(x)
    ratios = (seen[0] / neck.queries).flatten()
    torch.testing.assert_close(ratios.round(), ratios, rtol=0, atol=1e-4)
    assert set(ratios.round().tolist()) == {1.0, 3.0}
    # Each image has its own.
    assert len(seen[0].unique(dim=0)) > 1
    neck.eval()(x)
    torch.testing.assert_close(seen[1], 2 * neck.queries.expand(50, -1, -1))


def test_no_negative_token_is_seen():
    neck = build()
    nn.init.constant_(neck.input_proj.bias, -100.0)
    out = neck(torch.randn(2, 6, 3, 3))[0]
    assert torch.equal(out, neck(torch.randn(2, 6, 3, 3))[0])


@pytest.mark.parametrize('num_groups', [None, 1, 2, 3, 7])
def test_attention(num_groups):
    neck = build(num_groups=num_groups)
    x = torch.randn(3, 6, 2, 4)
    (expected,) = neck(x)
    out, attention = neck(x, return_attention=True)
    assert out.shape == (3, num_groups or 7, 8)
    torch.testing.assert_close(out, expected)
    assert attention.shape == (3, 2, 7, 2, 4)
    torch.testing.assert_close(attention.sum(dim=(3, 4)), torch.ones(3, 2, 7))
    size = {None: 1, 1: 7, 2: 4, 3: 3, 7: 1}[num_groups]
    for label in range(7):
        for other in range(label):
            assert torch.equal(attention[:, :, label], attention[:, :, other]) == (
                label // size == other // size
            )


def test_tokens_equal_the_feature_map():
    neck = build(num_extra_tokens=1)
    x = torch.randn(3, 6, 2, 4)
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.randn(3, 1, 6), tokens], dim=1)
    (expected,) = neck(x)
    torch.testing.assert_close(neck(tokens)[0], expected)
    order = [0, 4, 2, 1, 8, 7, 3, 6, 5]
    torch.testing.assert_close(neck(tokens[:, order])[0], expected)
    assert neck(tokens, return_attention=True)[1].shape == (3, 2, 7, 8)
    assert torch.equal(neck([torch.zeros(1), x])[0], expected)


def test_cost_is_linear_in_the_queries(record_ops):
    neck, x = build(num_classes=200), torch.randn(2, 6, 2, 2)
    with record_ops() as ops:
        neck(x)[0].square().sum().backward()
    assert max(ops.sizes) <= 2 * 200 * 10 < 200**2


def test_training_step():
    """Neck and head: all weights learn, with a bfloat16 autocast too."""
    neck = build(num_groups=3)
    head = LabelWiseClsHead(7, 8, num_groups=3)
    x = torch.randn(3, 6, 2, 4)
    with torch.autocast('cpu', torch.bfloat16):
        logits = head(neck(x))
    torch.testing.assert_close(logits.float(), head(neck(x)), rtol=0, atol=0.1)
    (logits.float() * torch.randn(3, 7)).sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_classes=0), 'num_classes must be positive, got 0'),
        (dict(in_channels=-8), 'in_channels must be positive, got -8'),
        (dict(embed_dims=0), 'embed_dims must be positive, got 0'),
        (dict(num_heads=3), 'embed_dims=8 and num_heads=3'),
        (dict(feedforward_channels=0), 'feedforward_channels must be positive, got 0'),
        (dict(num_extra_tokens=-1), 'num_extra_tokens must not be negative, got -1'),
        (dict(num_groups=0), 'num_groups must be from 1 to num_classes=7, got 0'),
        (dict(num_groups=8), 'num_groups must be from 1 to num_classes=7, got 8'),
        (dict(dropout=2), 'between 0 and 1, but got 2'),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        build(**args)


def test_bad_features():
    with pytest.raises(ValueError, match=r'\(B, 6, H, W\).*got \(2, 5, 3, 3\)'):
        build()(torch.zeros(2, 5, 3, 3))


def test_head_of_other_groups():
    with pytest.raises(ValueError, match=r'num_groups=2.*got \(1, 3, 8\)'):
        LabelWiseClsHead(7, 8, num_groups=2)(build(num_groups=3)(torch.zeros(1, 9, 6)))
