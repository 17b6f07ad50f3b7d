# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models.necks.global_max_pooling import GlobalMaxPooling


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(('dim', 'places'), [(1, (5,)), (2, (4, 3)), (3, (2, 3, 2))])
def test_values(dim, places):
    neck = MODELS.build(dict(type='GlobalMaxPooling', dim=dim))
    x = torch.randn(2, 6, *places)
    expected = torch.tensor([[c.max().item() for c in image] for image in x])
    assert torch.equal(neck(x), expected)
    first, second = neck((x, 2 * x))
    assert torch.equal(first, expected) and torch.equal(second, 2 * expected)
    assert not list(neck.parameters()) and f'dim={dim}' in repr(neck)


@pytest.mark.parametrize('places', [(4, 3), (1, 1)])
@pytest.mark.parametrize('number', [1, 2])
def test_interface_of_global_average_pooling(number, places):
    theirs = MODELS.build(dict(type='GlobalAveragePooling'))
    ours = GlobalMaxPooling()
    x = torch.randn(number, 6, *places)
    assert ours(x).shape == theirs(x).shape
    ours, theirs = ours((x, x)), theirs((x, x))
    assert type(ours) is type(theirs)
    assert [y.shape for y in ours] == [y.shape for y in theirs]


def test_gradient():
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(GlobalMaxPooling(), x)
    # Shared where places have the same value.
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    GlobalMaxPooling()(x).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 0.25))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_channels_last(dtype):
    x = torch.randn(2, 8, 3, 3).to(dtype)
    out = GlobalMaxPooling()(x.contiguous(memory_format=torch.channels_last))
    assert out.dtype == dtype and torch.equal(out, x.flatten(2).max(dim=2).values)


@pytest.mark.parametrize('dim', [0, 4, '2'])
def test_bad_dim(dim):
    with pytest.raises(ValueError, match=f'dim must be 1, 2 or 3, got {dim!r}'):
        GlobalMaxPooling(dim=dim)


@pytest.mark.parametrize('shape', [(2, 6), (2, 6, 4), (2, 6, 1, 4, 4)])
def test_bad_features(shape):
    x = torch.zeros(shape)
    for feats in (x, (x,)):
        with pytest.raises(ValueError, match='4 dimensions') as error:
            GlobalMaxPooling()(feats)
        assert f'got {shape}' in str(error.value)
