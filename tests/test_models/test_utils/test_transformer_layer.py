# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import nn

from mlcl_plugin.models.utils.transformer_layer import (
    ResidualAttention,
    TransformerLayer,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def randomise(module):
    """Weights of which none leaves anything as it is."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double()


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def attention_by_hand(layer, x, y, x_code, y_code):
    """One image, head, query and token at a time."""
    mha, heads = layer.attention, layer.num_heads
    (q_weight, k_weight, v_weight), (q_bias, k_bias, v_bias) = (
        t.chunk(3) for t in (mha.in_proj_weight, mha.in_proj_bias)
    )
    width = x.size(-1) // heads
    rows, weights = torch.zeros_like(x), draw(len(x), heads, x.size(1), y.size(1))
    for b in range(len(x)):
        for i in range(x.size(1)):
            q = q_weight @ (x[b, i] + x_code[0, i]) + q_bias
            parts = []
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                exps, values = [], []
                for t in range(y.size(1)):
                    k = k_weight @ (y[b, t] + y_code[0, t]) + k_bias
                    exps.append(math.exp((q[part] @ k[part]) / math.sqrt(width)))
                    values.append((v_weight @ y[b, t] + v_bias)[part])
                weights[b, head, i] = x.new_tensor(exps) / sum(exps)
                parts.append(sum(w * v for w, v in zip(weights[b, head, i], values)))
            rows[b, i] = mha.out_proj.weight @ torch.cat(parts) + mha.out_proj.bias
    out = x + rows
    mean, var = out.mean(-1, keepdim=True), out.var(-1, keepdim=True, correction=0)
    out = (out - mean) / (var + 1e-5).sqrt() * layer.norm.weight + layer.norm.bias
    return out, weights


@torch.no_grad()
def test_attention_by_hand():
    layer = randomise(ResidualAttention(6, num_heads=2)).eval()
    x, y, x_code, y_code = draw(2, 3, 6), draw(2, 5, 6), draw(1, 3, 6), draw(1, 5, 6)
    expected, weights = attention_by_hand(layer, x, y, x_code, y_code)
    out, none = layer(x, y, x_code, y_code)
    assert none is None
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    out, ours = layer(x, y, x_code, y_code, return_attention=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours, weights, rtol=0, atol=1e-10)

    # No code is a code of zeros.
    zero = torch.zeros_like
    out = layer(x, y)[0]
    torch.testing.assert_close(out, layer(x, y, zero(x_code), zero(y_code))[0])
    assert (out - expected).abs().max() > 0.01


def test_gradcheck():
    layer = randomise(TransformerLayer(4, 2, 5, dropout=0.0))
    leaves = [
        t.requires_grad_()
        for t in (draw(2, 3, 4), draw(2, 4, 4), draw(1, 3, 4), draw(1, 4, 4))
    ]
    assert torch.autograd.gradcheck(lambda *args: layer(*args)[0], leaves)


@pytest.mark.parametrize('training', [False, True])
def test_equals_torch_without_codes(training):
    """Torch's own encoder layer, with its weights."""
    ours = randomise(TransformerLayer(8, 2, 16, dropout=0.0)).train(training)
    theirs = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    theirs.double().train(training)
    pairs = [
        (theirs.self_attn, ours.attention.attention),
        (theirs.norm1, ours.attention.norm),
        (theirs.linear1, ours.ffn.layers[0][0]),
        (theirs.linear2, ours.ffn.layers[1]),
        (theirs.norm2, ours.norm),
    ]
    for target, source in pairs:
        target.load_state_dict(source.state_dict())
    num_parameters = sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in ours.parameters()) == num_parameters
    x = draw(2, 3, 8).requires_grad_()
    out, expected = ours(x, x)[0], theirs(x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    weight = torch.randn_like(out)
    gradients = (torch.autograd.grad((o * weight).sum(), x) for o in (out, expected))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


def test_fused_attention(record_ops):
    """Weights are formed on request only."""
    layer = TransformerLayer(8, 2, 16).eval()
    x, y = torch.randn(2, 3, 8), torch.randn(2, 50, 8)
    for return_attention in (False, True):
        with record_ops() as ops:
            layer(x, y, return_attention=return_attention)
        fused = any('scaled_dot_product' in name for name in ops.names)
        assert fused != return_attention
        formed = {(2, 2, 3, 50), (4, 3, 50)} & set(ops.shapes)
        assert bool(formed) == return_attention


def test_dropout():
    """The rate reaches weights, outputs and hidden units."""
    layer = TransformerLayer(8, 2, 16, dropout=0.3)
    rates = [m.p for m in layer.modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.3] * 3 and layer.attention.attention.dropout == 0.3
    x = torch.randn(2, 3, 8)
    assert not torch.equal(layer(x, x)[0], layer(x, x)[0])
    layer.eval()
    assert torch.equal(layer(x, x)[0], layer(x, x)[0])


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_heads=3), 'embed_dims=8 and num_heads=3'),
        (dict(num_heads=0), 'embed_dims=8 and num_heads=0'),
        (dict(feedforward_channels=0), 'feedforward_channels must be positive, got 0'),
        (dict(dropout=1.5), 'between 0 and 1, but got 1.5'),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        TransformerLayer(
            **{**dict(embed_dims=8, num_heads=2, feedforward_channels=16), **args}
        )
