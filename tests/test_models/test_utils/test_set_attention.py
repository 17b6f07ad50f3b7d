# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F

from mlcl_plugin.models.utils import MultiheadAttentionBlock, SetAttentionBlock


def layer_norm(x):
    x = x - x.mean()
    return x / (x.pow(2).mean() + 1e-5).sqrt()


def oracle(block, queries, tokens, num_heads):
    """One image, one head and one query at a time, from the block's formula.

    The norms of a fresh block have no scale and shift.
    """
    weights = {name: p.detach() for name, p in block.named_parameters()}

    def project(name, x):
        return torch.stack(
            [weights[f'{name}.weight'] @ row + weights[f'{name}.bias'] for row in x]
        )

    outs, attentions = [], []
    for image in range(len(tokens)):
        q = project('query_proj', queries[image])
        k = project('key_proj', tokens[image])
        v = project('value_proj', tokens[image])
        width = q.size(1)
        out, attention = torch.zeros_like(q), []
        for head in range(num_heads):
            part = slice(head * width // num_heads, (head + 1) * width // num_heads)
            rows = []
            for t in range(len(q)):
                scores = [
                    math.fsum(a * b for a, b in zip(q[t, part].tolist(), key.tolist()))
                    # The root of the full width, not of the head's.
                    / math.sqrt(width)
                    for key in k[:, part]
                ]
                exps = [math.exp(score) for score in scores]
                row = [e / math.fsum(exps) for e in exps]
                out[t, part] = q[t, part] + sum(a * x for a, x in zip(row, v[:, part]))
                rows.append(row)
            attention.append(rows)
        normed = torch.stack([layer_norm(row) for row in out])
        hidden = normed + project('out_proj', normed).clamp(min=0)
        outs.append(torch.stack([layer_norm(row) for row in hidden]))
        attentions.append(attention)
    return torch.stack(outs), torch.tensor(attentions, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize('num_heads', [1, 2, 4])
@pytest.mark.parametrize('shared', [False, True])
def test_attention_block(num_heads, shared):
    block = MultiheadAttentionBlock(6, 5, 8, num_heads).double()
    # Scores of size 1 and more, where their scale tells.
    block.query_proj.weight.data *= 4
    block.key_proj.weight.data *= 4
    queries = torch.randn(1 if shared else 2, 3, 6, dtype=torch.float64)
    tokens = torch.randn(2, 4, 5, dtype=torch.float64)
    expected, weights = oracle(block, queries.expand(2, -1, -1), tokens, num_heads)

    fused = block(queries, tokens)
    out, attention = block(queries, tokens, return_attention=True)
    for result in (fused, out):
        assert result.shape == (2, 3, 8)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-10)
    assert attention.shape == (2, num_heads, 3, 4)
    torch.testing.assert_close(attention, weights, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        attention.sum(-1), torch.ones(2, num_heads, 3, dtype=torch.float64)
    )
    if num_heads > 1:
        # The usual scale, of one head's width, is told apart by this test.
        block.scale *= math.sqrt(num_heads)
        assert (block(queries, tokens) - expected).abs().max() > 1e-3


def test_residual_is_the_projected_query():
    """Values of 0 leave the norms of the projected query."""
    block = MultiheadAttentionBlock(6, 5, 8, 2)
    for layer in (block.value_proj, block.out_proj):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    queries, tokens = torch.randn(2, 3, 6), torch.randn(2, 4, 5)
    expected = F.layer_norm(F.layer_norm(block.query_proj(queries), (8,)), (8,))
    torch.testing.assert_close(block(queries, tokens), expected)


def test_both_paths_have_equal_gradients():
    block = MultiheadAttentionBlock(6, 5, 8, 2).double()
    queries = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    leaves = [queries, tokens, *block.parameters()]
    target = torch.randn(2, 3, 8, dtype=torch.float64)
    fused = torch.autograd.grad((block(queries, tokens) * target).sum(), leaves)
    out, _ = block(queries, tokens, return_attention=True)
    plain = torch.autograd.grad((out * target).sum(), leaves)
    for a, b in zip(fused, plain):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


# Of width 8, for two images.
@pytest.mark.parametrize(
    ('num_queries', 'num_tokens', 'num_heads', 'projected'),
    [
        (1, 9, 1, []),
        (2, 30, 2, []),
        (3, 9, 1, ['value_proj']),
        (3, 30, 2, ['key_proj', 'value_proj']),
        (2, 9, 4, ['key_proj', 'value_proj']),
        (30, 9, 1, ['key_proj', 'value_proj']),
    ],
)
def test_few_shared_queries(num_queries, num_tokens, num_heads, projected, monkeypatch):
    """Tokens stay as they are where that is cheaper, with the same result."""
    block = MultiheadAttentionBlock(6, 5, 8, num_heads).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    queries = torch.randn(1, num_queries, 6, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(2, num_tokens, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, num_queries, 8, dtype=torch.float64)
    leaves = [queries, tokens, *block.parameters()]
    calls = []
    for name in ('key_proj', 'value_proj'):
        layer = getattr(block, name)
        layer.register_forward_hook(lambda *args, name=name: calls.append(name))

    out = block(queries, tokens)
    assert calls == projected
    again, weights = block(queries, tokens, return_attention=True)
    torch.testing.assert_close(again, out, rtol=0, atol=1e-10)

    calls.clear()
    monkeypatch.setattr('mlcl_plugin.models.utils.set_attention.LEAVE_OUT', math.inf)
    expected, attention = block(queries, tokens, return_attention=True)
    assert calls == ['key_proj', 'value_proj']
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(weights, attention, rtol=0, atol=1e-10)
    ours = torch.autograd.grad((out * target).sum(), leaves)
    theirs = torch.autograd.grad((expected * target).sum(), leaves)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize('name', ['key_proj', 'value_proj'])
def test_adapters_are_not_bypassed(name):
    """A layer in place of a projection is called, whatever it is."""
    block = MultiheadAttentionBlock(6, 5, 8, 1)
    queries, tokens = torch.randn(1, 1, 6), torch.randn(2, 9, 5)
    before = block(queries, tokens)
    layer = torch.nn.Sequential(getattr(block, name), torch.nn.Identity())
    setattr(block, name, layer)
    torch.testing.assert_close(block(queries, tokens), before)
    layer[1] = torch.nn.Threshold(0.5, 4.0)
    assert (block(queries, tokens) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ('dtype', 'autocast'),
    [
        (torch.float64, False),
        (torch.float32, False),
        (torch.bfloat16, False),
        (torch.float32, True),
    ],
)
@pytest.mark.parametrize('transposed', [False, True])
def test_many_labels_form_no_map(record_ops, dtype, autocast, transposed):
    """Self-attention among many labels is fused, in both directions."""
    num_labels, width, heads = 64, 8, 2
    block = SetAttentionBlock(width, heads).to(dtype)
    tokens = torch.randn(3, num_labels, width, dtype=dtype)
    if transposed:
        tokens = tokens.transpose(1, 2).contiguous().transpose(1, 2)
    tokens.requires_grad_()
    with record_ops() as ops:
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            out = block(tokens)
        out.float().square().sum().backward()
    assert max(ops.sizes) < num_labels**2
    for name in ('', '_backward'):
        assert ops.names.count(f'_scaled_dot_product_flash_attention_for_cpu{name}')
    # The test would see a map.
    with record_ops() as ops:
        MultiheadAttentionBlock.forward(block, tokens, tokens, return_attention=True)
    assert (3, heads, num_labels, num_labels) in ops.shapes


@pytest.mark.parametrize('num_tokens', [9, 100])
def test_bfloat16_is_near_float64(record_ops, num_tokens):
    """Also where few tokens are attended without the fused kernel."""
    block = MultiheadAttentionBlock(32, 32, 64, 2)
    queries, tokens = torch.randn(3, 20, 32), torch.randn(3, num_tokens, 32)
    target = torch.randn(3, 20, 64)
    with record_ops() as ops, torch.autocast('cpu', torch.bfloat16):
        out = block(queries, tokens)
    fused = '_scaled_dot_product_flash_attention_for_cpu' in ops.names
    assert fused == (num_tokens == 100)
    gradients = torch.autograd.grad((out * target).sum(), list(block.parameters()))

    block, target = block.double(), target.double()
    expected = block(queries.double(), tokens.double())
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=0.06)
    for ours, theirs in zip(
        gradients,
        torch.autograd.grad((expected * target).sum(), list(block.parameters())),
    ):
        assert (ours - theirs).norm() < 0.08 * theirs.norm() + 0.02


def test_set_attention_block():
    block = SetAttentionBlock(8, num_heads=2).double()
    tokens = torch.randn(2, 5, 8, dtype=torch.float64)
    expected, _ = oracle(block, tokens, tokens, num_heads=2)
    torch.testing.assert_close(block(tokens), expected, rtol=0, atol=1e-10)
    # A set has no order: permuted tokens give permuted outputs.
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(block(tokens[:, order]), expected[:, order])


def test_large_scores_stay_finite():
    block = MultiheadAttentionBlock(8, 8, 8, 2)
    x = 1e4 * torch.randn(2, 4, 8)
    for out in (block(x, x), *block(x, x, return_attention=True)):
        assert out.isfinite().all()


@pytest.mark.parametrize(('embed_dims', 'num_heads'), [(8, 3), (8, 0), (8, -2), (2, 4)])
def test_bad_heads(embed_dims, num_heads):
    message = f'embed_dims={embed_dims} and num_heads={num_heads}'
    with pytest.raises(ValueError, match=message):
        MultiheadAttentionBlock(8, 8, embed_dims, num_heads)
    with pytest.raises(ValueError, match=message):
        SetAttentionBlock(embed_dims, num_heads)
