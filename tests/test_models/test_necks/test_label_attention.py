# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.models import LabelAttentionNeck


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(**kwargs):
    args = dict(num_classes=5, in_channels=8, embed_dims=12, num_heads=2)
    return LabelAttentionNeck(**{**args, **kwargs})


def test_registered_with_the_paper_defaults():
    with torch.device('meta'):
        neck = MODELS.build(
            dict(type='LabelAttentionNeck', num_classes=80, in_channels=2048)
        )
    assert neck.queries.shape == (1, 80, 1024)
    assert len(neck.blocks_before) == 2 and len(neck.blocks_after) == 1
    heads = {m.num_heads for m in neck.modules() if hasattr(m, 'num_heads')}
    assert heads == {4}

    def millions(*modules):
        return round(sum(p.numel() for m in modules for p in m.parameters()) / 1e6, 2)

    assert millions(neck) == 44.17
    assert millions(neck.blocks_before) == 33.59
    assert millions(neck.label_attention) == 6.30
    assert millions(neck.blocks_after) == 4.20
    assert round(neck.queries.numel() / 1e6, 2) == 0.08


@pytest.mark.parametrize(('before', 'after'), [(2, 1), (1, 1), (0, 0), (0, 2)])
def test_is_the_chain_of_its_blocks(before, after):
    neck = build(num_blocks_before=before, num_blocks_after=after).double()
    assert len(neck.blocks_before) == before and len(neck.blocks_after) == after
    names = {name.split('.')[0] for name, _ in neck.named_parameters()}
    assert names == {'queries', 'label_attention'} | (
        {'blocks_before'} if before else set()
    ) | ({'blocks_after'} if after else set())

    x = torch.randn(3, 8, 2, 4, dtype=torch.float64)
    tokens = torch.stack(
        [x[:, :, row, column] for row in range(2) for column in range(4)], dim=1
    )
    for block in neck.blocks_before:
        tokens = block(tokens)
    expected = neck.label_attention(neck.queries.repeat(3, 1, 1), tokens)
    for block in neck.blocks_after:
        expected = block(expected)
    (out,) = neck(x)
    assert out.shape == (3, 5, 12)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)


def test_scale_is_the_root_of_the_full_width():
    """Attention by hand: queries, keys and head split written out."""
    neck = build(num_blocks_before=0, num_blocks_after=0, embed_dims=12, num_heads=3)
    neck.label_attention.query_proj.weight.data *= 5
    neck.queries.data *= 20
    x = 3 * torch.randn(1, 8, 2, 2)
    _, attention = neck(x, return_attention=True)
    mab = neck.label_attention
    for label in range(5):
        q = mab.query_proj.weight @ neck.queries[0, label] + mab.query_proj.bias
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            exps = torch.zeros(2, 2)
            for row in range(2):
                for column in range(2):
                    k = mab.key_proj.weight @ x[0, :, row, column] + mab.key_proj.bias
                    score = (q[part] * k[part]).sum() / math.sqrt(12)
                    exps[row, column] = score.exp()
            expected = exps / exps.sum()
            assert expected.max() - expected.min() > 0.01
            torch.testing.assert_close(
                attention[0, head, label], expected, rtol=1e-4, atol=1e-5
            )


def test_feature_map_equals_tokens():
    neck = build()
    x = torch.randn(3, 8, 2, 4)
    tokens = x.flatten(2).transpose(1, 2)
    (from_map,) = neck(x)
    (from_tokens,) = neck(tokens)
    torch.testing.assert_close(from_map, from_tokens)

    _, map_attention = neck(x, return_attention=True)
    _, token_attention = neck(tokens, return_attention=True)
    assert map_attention.shape == (3, 2, 5, 2, 4)
    assert token_attention.shape == (3, 2, 5, 8)
    torch.testing.assert_close(map_attention.flatten(3), token_attention)

    channels_last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(neck(channels_last)[0], from_map)


@pytest.mark.parametrize('container', [tuple, list])
def test_several_stages(container):
    neck = build()
    x = torch.randn(3, 8, 2, 4)
    stages = container([torch.randn(3, 4, 4, 8), x])
    assert torch.equal(neck(stages)[0], neck(x)[0])


@pytest.mark.parametrize(('before', 'after'), [(2, 1), (0, 0)])
def test_return_attention(before, after):
    neck = build(num_blocks_before=before, num_blocks_after=after)
    x = torch.randn(3, 8, 2, 4)
    fused = neck(x)
    assert isinstance(fused, tuple) and len(fused) == 1
    out, attention = neck(x, return_attention=True)
    torch.testing.assert_close(out, fused[0])
    assert attention.shape == (3, 2, 5, 2, 4)
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum(dim=(3, 4)), torch.ones(3, 2, 5))


def test_images_do_not_mix():
    neck = build()
    x = torch.randn(3, 8, 2, 4)
    torch.testing.assert_close(neck(x)[0][1:2], neck(x[1:2])[0])


def test_attention_follows_the_place():
    """A place that a head's queries agree with draws the attention there."""
    neck = build(num_blocks_before=0, num_blocks_after=0, num_heads=1)
    mab = neck.label_attention
    query = mab.query_proj(neck.queries)[0].mean(dim=0).detach()
    x = torch.zeros(1, 8, 2, 3)
    x[0, :, 1, 2] = 100 * mab.key_proj.weight.detach().T @ query
    _, attention = neck(x, return_attention=True)
    mean = attention[0, 0].mean(dim=0)
    assert mean.argmax() == 1 * 3 + 2


@pytest.mark.parametrize('extra', [1, 4])
def test_extra_tokens(extra):
    neck = build(num_extra_tokens=extra)
    tokens = torch.randn(3, 6 + extra, 8)
    reference = build()
    reference.load_state_dict(neck.state_dict())
    assert torch.equal(neck(tokens)[0], reference(tokens[:, extra:])[0])
    assert neck(tokens, return_attention=True)[1].shape == (3, 2, 5, 6)
    # A feature map has none.
    x = torch.randn(3, 8, 2, 4)
    assert torch.equal(neck(x)[0], reference(x)[0])
    with pytest.raises(ValueError, match=f'N > {extra}'):
        neck(tokens[:, :extra])


@pytest.mark.parametrize('num_groups', [1, 2, 3, 4, 5])
def test_groups(num_groups):
    """Groups are as many labels; only attention is told by label."""
    neck = build(num_groups=num_groups)
    assert neck.num_classes == 5 and neck.num_groups == num_groups
    plain = build(num_classes=num_groups)
    plain.load_state_dict(neck.state_dict())
    x = torch.randn(3, 8, 2, 4)
    (out,) = neck(x)
    assert out.shape == (3, num_groups, 12)
    assert torch.equal(out, plain(x)[0])

    again, attention = neck(x, return_attention=True)
    of_groups = plain(x, return_attention=True)[1]
    torch.testing.assert_close(again, out)
    assert attention.shape == (3, 2, 5, 2, 4)
    size = {1: 5, 2: 3, 3: 2, 4: 2, 5: 1}[num_groups]
    for label in range(5):
        assert torch.equal(attention[:, :, label], of_groups[:, :, label // size])


def test_a_group_a_label_is_the_plain_form():
    neck, plain = build(num_groups=5), build()
    plain.load_state_dict(neck.state_dict())
    x = torch.randn(3, 8, 2, 4)
    assert torch.equal(neck(x)[0], plain(x)[0])


def test_queries_of_groups_are_xavier_uniform_over_their_own_shape():
    neck = build(num_classes=2000, embed_dims=96, num_groups=20)
    bound = math.sqrt(6 / (20 * 96 + 96))
    assert neck.queries.shape == (1, 20, 96)
    assert 0.98 * bound < neck.queries.abs().max() <= bound


@pytest.mark.parametrize('num_groups', [None, 8])
@pytest.mark.parametrize('autocast', [False, True])
def test_many_labels_form_no_map(record_ops, num_groups, autocast):
    """No matrix of pairs of labels; with groups, no embedding of a label."""
    neck = build(num_classes=96, num_groups=num_groups)
    with record_ops() as ops, torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        (out,) = neck(torch.randn(2, 8, 2, 2))
        out.float().square().sum().backward()
    # What there is of embeddings or, with groups, tokens and weights.
    largest = 2 * 96 * 12 if num_groups is None else 2 * 8 * 12
    assert max(ops.sizes) <= largest < 96**2


@pytest.mark.parametrize(
    ('memory_format', 'copies'),
    [(torch.contiguous_format, 1), (torch.channels_last, 0)],
)
def test_copies_of_a_feature_map(record_ops, memory_format, copies):
    """One for all projections; the tokens of a channels-last map lie in memory."""
    neck = build(num_blocks_after=0)
    x = torch.randn(3, 8, 2, 4).contiguous(memory_format=memory_format)
    with record_ops() as ops:
        neck(x)
    assert sum(name in ('clone', 'copy_') for name in ops.names) == copies


def test_initialization():
    neck = build(num_classes=20, in_channels=64, embed_dims=96, num_heads=4)
    queries = neck.queries.detach().clone()
    for module in neck.modules():
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 7)
            nn.init.constant_(module.bias, 7)
    neck.init_weights()

    linears = [m for m in neck.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 4 * 4
    for linear in linears:
        # The spread of 4096 draws and more lies within 5 percent.
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(linear.weight.mean().item()) < 0.0015
        assert not linear.bias.any()
    norms = [m for m in neck.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 4 * 2
    for norm in norms:
        assert (norm.weight == 1).all() and not norm.bias.any()
    # Xavier over (1, L, D): fan in L * D, fan out D.
    bound = math.sqrt(6 / (20 * 96 + 96))
    assert 0.98 * bound < neck.queries.abs().max() <= bound
    assert neck.queries.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert torch.equal(neck.queries, queries)


def test_own_init_cfg():
    neck = build(init_cfg=None)
    before = {k: v.clone() for k, v in neck.state_dict().items()}
    neck.init_weights()
    assert all(torch.equal(before[k], v) for k, v in neck.state_dict().items())

    neck = build(init_cfg=dict(type='Constant', layer='Linear', val=0.5, bias=0.25))
    neck.init_weights()
    assert (neck.label_attention.key_proj.weight == 0.5).all()
    assert (neck.blocks_before[0].out_proj.bias == 0.25).all()


@pytest.mark.parametrize('num_groups', [None, 2])
def test_bfloat16_autocast(num_groups):
    neck = build(in_channels=32, embed_dims=32, num_groups=num_groups)
    x = torch.randn(3, 32, 4, 4)
    (expected,) = neck(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (fused,) = neck(x)
        out, attention = neck(x, return_attention=True)
        fused.float().pow(2).sum().backward()
    for result in (fused, out):
        torch.testing.assert_close(result.float(), expected, rtol=0, atol=0.1)
    torch.testing.assert_close(
        attention.float().sum(dim=(3, 4)), torch.ones(3, 2, 5), rtol=0, atol=0.02
    )
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_every_parameter_has_a_gradient():
    neck = build()
    weight = torch.randn(3, 5, 12)
    (neck(torch.randn(3, 8, 2, 4))[0] * weight).sum().backward()
    for name, parameter in neck.named_parameters():
        # A shift of all keys of a query leaves the softmax as it is.
        if not name.endswith('key_proj.bias'):
            assert parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_classes=0), 'num_classes must be positive, got 0'),
        (dict(in_channels=-8), 'in_channels must be positive, got -8'),
        (dict(embed_dims=0), 'embed_dims must be positive, got 0'),
        (dict(num_blocks_before=-1), 'num_blocks_before must not be negative, got -1'),
        (dict(num_blocks_after=-2), 'num_blocks_after must not be negative, got -2'),
        (dict(num_extra_tokens=-1), 'num_extra_tokens must not be negative, got -1'),
        (dict(embed_dims=9), 'embed_dims=9 and num_heads=2'),
        (dict(in_channels=7), 'embed_dims=7 and num_heads=2'),
        (dict(num_heads=0), 'num_heads=0'),
        (dict(num_groups=0), 'num_groups must be from 1 to num_classes=5, got 0'),
        (dict(num_groups=6), 'num_groups must be from 1 to num_classes=5, got 6'),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        build(**args)


def test_input_width_is_free_without_blocks_before():
    neck = build(in_channels=7, num_blocks_before=0)
    assert neck(torch.randn(2, 7, 2, 2))[0].shape == (2, 5, 12)


@pytest.mark.parametrize(
    'shape', [(3, 7, 2, 4), (3, 8), (3, 5, 7), (3, 2, 4, 8), (3, 8, 2, 4, 1), (3, 0, 8)]
)
def test_bad_features(shape):
    with pytest.raises(ValueError, match=r'\(B, 8, H, W\)') as error:
        build()(torch.zeros(shape))
    assert f'got {shape}' in str(error.value)
    remedy = 'channels last' if shape == (3, 2, 4, 8) else 'without pooling'
    assert remedy in str(error.value)
