# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.models.necks.label_query_decoder import LabelQueryDecoder
from mlcl_plugin.models.utils.sine_position_code import sine_position_code


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(**kwargs):
    args = dict(
        num_classes=5,
        in_channels=6,
        embed_dims=8,
        num_heads=2,
        feedforward_channels=10,
        dropout=0.0,
    )
    return LabelQueryDecoder(**{**args, **kwargs})


def attend(module, x, y, x_code, y_code):
    """Attention, residual and norm from their formulas, with torch's functions."""
    mha, heads = module.attention, module.num_heads
    (wq, wk, wv), (bq, bk, bv) = (
        t.chunk(3) for t in (mha.in_proj_weight, mha.in_proj_bias)
    )
    q, k, v = F.linear(x + x_code, wq, bq), F.linear(y + y_code, wk, bk), y @ wv.T + bv
    parts, weights = [], []
    for q_h, k_h, v_h in zip(*(t.chunk(heads, dim=-1) for t in (q, k, v))):
        scores = q_h @ k_h.transpose(1, 2) / math.sqrt(q_h.size(-1))
        weights.append(scores.softmax(dim=-1))
        parts.append(weights[-1] @ v_h)
    out = x + mha.out_proj(torch.cat(parts, dim=-1))
    return module.norm(out), torch.stack(weights, dim=1)


def network(layer, x):
    linear1, linear2 = layer.ffn.layers[0][0], layer.ffn.layers[1]
    return layer.norm(x + linear2(linear1(x).clamp(min=0)))


def by_hand(neck, x, self_attention, with_code=True):
    tokens = torch.stack(
        [x[:, :, r, c] for r in range(x.size(2)) for c in range(x.size(3))], dim=1
    )
    if not isinstance(neck.input_proj, nn.Identity):
        tokens = tokens @ neck.input_proj.weight.T + neck.input_proj.bias
    code = torch.zeros_like(tokens[:1])
    if with_code:
        code += sine_position_code(*x.shape[2:], neck.embed_dims)
    for layer in neck.encoder:
        tokens = network(layer, attend(layer.attention, tokens, tokens, code, code)[0])
    labels, queries = torch.zeros(len(x), *neck.queries.shape[1:]).to(x), neck.queries
    for number, layer in enumerate(neck.decoder):
        if self_attention and number > 0:
            labels, _ = attend(layer.self_attention, labels, labels, queries, queries)
        labels, weights = attend(layer.attention, labels, tokens, queries, code)
        labels = network(layer, labels)
    return labels, weights.unflatten(-1, tuple(x.shape[2:]))


@pytest.mark.parametrize('self_attention', [False, True])
@pytest.mark.parametrize(('encoder', 'decoder'), [(1, 2), (0, 1), (2, 3)])
@pytest.mark.parametrize('in_channels', [6, 8])
def test_by_hand(encoder, decoder, self_attention, in_channels):
    neck = build(
        in_channels=in_channels,
        num_encoder_layers=encoder,
        num_decoder_layers=decoder,
        self_attention=self_attention,
    ).double()
    for parameter in neck.parameters():
        nn.init.normal_(parameter, std=0.4)
    x = torch.randn(3, in_channels, 2, 4, dtype=torch.float64)
    expected, attention = by_hand(neck, x, self_attention)
    (out,) = neck(x)
    assert out.shape == (3, 5, 8)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    out, ours = neck((x,), return_attention=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    assert ours.shape == (3, 2, 5, 2, 4)
    torch.testing.assert_close(ours, attention, rtol=0, atol=1e-10)

    names = [name for name, _ in neck.named_modules()]
    layers = [name for name in names if name.endswith('.self_attention')]
    assert layers == [
        f'decoder.{number}.self_attention' for number in range(1, decoder)
    ] * int(self_attention)
    assert any(n == 'input_proj.weight' for n, _ in neck.named_parameters()) == (
        in_channels == 6
    )


def test_registered_with_the_paper_defaults():
    with torch.device('meta'):
        neck = MODELS.build(
            dict(type='LabelQueryDecoder', num_classes=80, in_channels=2048)
        )
    assert neck.queries.shape == (1, 80, 2048)
    assert isinstance(neck.input_proj, nn.Identity)
    assert len(neck.encoder) == 1 and len(neck.decoder) == 2
    assert [layer.self_attention is None for layer in neck.decoder] == [True, False]
    assert {m.num_heads for m in neck.modules() if hasattr(m, 'num_heads')} == {4}
    assert {m.p for m in neck.modules() if isinstance(m, nn.Dropout)} == {0.1}
    # three layers of attention and network, and the labels' own attention
    d, f = 2048, 8192
    attention, network = 4 * d * (d + 1) + 2 * d, 2 * d * f + f + d + 2 * d
    total = 3 * (attention + network) + attention + 80 * d
    assert sum(p.numel() for p in neck.parameters()) == total


def test_tokens_have_no_places():
    neck = build().double()
    x = torch.randn(3, 6, 2, 4, dtype=torch.float64)
    tokens = x.flatten(2).transpose(1, 2)
    expected, attention = by_hand(neck, x, True, with_code=False)
    out, ours = neck(tokens, return_attention=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    assert ours.shape == (3, 2, 5, 8)
    torch.testing.assert_close(ours, attention.flatten(3), rtol=0, atol=1e-10)
    # In any order they are the same, those of a feature map are not.
    order = [3, 1, 0, 7, 6, 2, 5, 4]
    torch.testing.assert_close(neck(tokens[:, order])[0], out)
    (placed,) = neck(x)
    assert (placed - out).abs().max() > 1e-3
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (2, 4))
    assert (neck(shuffled)[0] - placed).abs().max() > 1e-3


def test_values_carry_no_code():
    """Where all places look alike it does not matter where a label looks."""
    neck = build(num_encoder_layers=0)
    x = torch.randn(3, 6, 1, 1)
    out, attention = neck(x.expand(3, 6, 3, 4), return_attention=True)
    assert attention.std() > 1e-3
    torch.testing.assert_close(out, neck(x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (3, 5), (5, 3)])
def test_any_size(height, width):
    out, attention = build()(torch.randn(2, 6, height, width), return_attention=True)
    assert out.shape == (2, 5, 8) and attention.shape == (2, 2, 5, height, width)
    torch.testing.assert_close(attention.sum(dim=(3, 4)), torch.ones(2, 2, 5))


def test_channels_last_and_stages():
    neck, x = build(), torch.randn(2, 6, 3, 4)
    (expected,) = neck(x)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(neck(channels_last)[0], expected)
    assert torch.equal(neck((torch.zeros(2, 3, 8, 8), x))[0], expected)


def test_extra_tokens():
    neck, plain = build(num_extra_tokens=2), build()
    plain.load_state_dict(neck.state_dict())
    tokens = torch.randn(2, 9, 6)
    assert torch.equal(neck(tokens)[0], plain(tokens[:, 2:])[0])


def test_images_do_not_mix():
    neck, x = build(), torch.randn(3, 6, 2, 4)
    torch.testing.assert_close(neck(x)[0][1:2], neck(x[1:2])[0])


def test_dropout_is_for_training():
    neck, x = build(dropout=0.5), torch.randn(2, 6, 3, 4)
    assert not torch.equal(neck(x)[0], neck(x)[0])
    neck.eval()
    assert torch.equal(neck(x)[0], neck(x)[0])


def test_no_map_of_weights(record_ops):
    """Only the last layer's are formed, and only on request."""
    neck, x = build(num_decoder_layers=3).eval(), torch.randn(2, 6, 7, 9)
    with record_ops() as ops:
        neck(x)
    assert sum('scaled_dot_product' in name for name in ops.names) == 1 + 3 + 2
    assert not any(shape[-2:] in [(63, 63), (5, 63)] for shape in ops.shapes)
    with record_ops() as ops:
        neck(x, return_attention=True)
    assert sum('scaled_dot_product' in name for name in ops.names) == 1 + 2 + 2


def test_initialization():
    neck = build(num_classes=40, in_channels=64, embed_dims=96, num_heads=4)
    queries = neck.queries.detach().clone()
    for module in neck.modules():
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 7)
            nn.init.constant_(module.bias, 7)
    neck.init_weights()
    linears = [m for m in neck.modules() if isinstance(m, nn.Linear)]
    # input, out_proj of 4 attentions, networks of 3 layers
    assert len(linears) == 1 + 4 + 6
    for linear in linears:
        bound = math.sqrt(6 / sum(linear.weight.shape))
        assert 0.95 * bound < linear.weight.abs().max() <= bound
        assert not linear.bias.any()
    for module in neck.modules():
        if isinstance(module, nn.MultiheadAttention):
            bound = math.sqrt(6 / (4 * 96))
            assert 0.95 * bound < module.in_proj_weight.abs().max() <= bound
            assert not module.in_proj_bias.any()
    assert torch.equal(neck.queries, queries)
    assert queries.std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize('self_attention', [False, True])
def test_every_parameter_has_a_gradient(self_attention):
    neck = build(self_attention=self_attention)
    weight = torch.randn(3, 5, 8)
    (neck(torch.randn(3, 6, 2, 4))[0] * weight).sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name


def test_gradcheck():
    neck = build(num_classes=2, embed_dims=4, feedforward_channels=3).double()
    names, values = zip(*neck.named_parameters())

    def call(x, *values):
        return torch.func.functional_call(neck, dict(zip(names, values)), (x,))[0]

    x = torch.randn(2, 6, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    neck = build(in_channels=16, embed_dims=32, feedforward_channels=32)
    x = torch.randn(3, 16, 4, 4)
    (expected,) = neck(x)
    with torch.autocast('cpu', dtype=dtype):
        (out,) = neck(x)
        _, attention = neck(x, return_attention=True)
        out.float().pow(2).sum().backward()
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.15)
    torch.testing.assert_close(
        attention.float().sum(dim=(3, 4)), torch.ones(3, 2, 5), rtol=0, atol=0.02
    )
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    (out,) = neck.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.15)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_classes=0), 'num_classes must be positive, got 0'),
        (dict(in_channels=-8), 'in_channels must be positive, got -8'),
        (dict(num_decoder_layers=0), 'num_decoder_layers must be positive, got 0'),
        (
            dict(num_encoder_layers=-1),
            'num_encoder_layers must not be negative, got -1',
        ),
        (dict(num_extra_tokens=-1), 'num_extra_tokens must not be negative, got -1'),
        (dict(feedforward_channels=0), 'feedforward_channels must be positive, got 0'),
        (dict(embed_dims=6), 'a multiple of 4.*got 6'),
        (dict(embed_dims=0), 'a multiple of 4.*got 0'),
        (dict(num_heads=3), 'embed_dims=8 and num_heads=3'),
        (dict(dropout=-0.1), 'between 0 and 1, but got -0.1'),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        build(**args)


@pytest.mark.parametrize('shape', [(3, 7, 2, 4), (3, 8), (3, 5, 7), (3, 0, 6)])
def test_bad_features(shape):
    with pytest.raises(ValueError, match=r'\(B, 6, H, W\)') as error:
        build()(torch.zeros(shape))
    assert f'got {shape}' in str(error.value)
