# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mlcl_plugin.models.utils.tokens import to_tokens


def test_feature_map():
    x = torch.randn(2, 5, 3, 4)
    tokens, places = to_tokens(x, 5, num_extra_tokens=1)
    assert tokens.shape == (2, 12, 5) and places == (3, 4)
    for row in range(3):
        for column in range(4):
            assert torch.equal(tokens[:, 4 * row + column], x[:, :, row, column])


@pytest.mark.parametrize('extra', [0, 1, 5])
def test_tokens(extra):
    x = torch.randn(2, 6, 5)
    tokens, places = to_tokens(x, 5, extra)
    assert torch.equal(tokens, x[:, extra:]) and places == (6 - extra,)


@pytest.mark.parametrize('container', [tuple, list])
def test_last_stage(container):
    stages = container([torch.zeros(2, 3, 8, 8), torch.ones(2, 5, 3, 4)])
    tokens, _ = to_tokens(stages, 5)
    assert tokens.shape == (2, 12, 5) and (tokens == 1).all()


@pytest.mark.parametrize(
    'shape', [(2, 4, 3, 4), (2, 5), (2, 6, 4), (2, 5, 3, 4, 1), (2, 2, 5)]
)
def test_bad_features(shape):
    with pytest.raises(ValueError, match='without pooling') as error:
        to_tokens(torch.zeros(shape), 5, num_extra_tokens=2)
    for part in ('(B, 5, H, W)', '(B, N > 2, 5)', f'got {shape}'):
        assert part in str(error.value)


@pytest.mark.parametrize('several', [False, True])
def test_channels_last(several):
    """As Swin of timm gives them."""
    feats = torch.zeros(2, 7, 5, 16)
    message = r'\(B, 16, H, W\) .*, got \(2, 7, 5, 16\)\. The .* its channels last'
    with pytest.raises(ValueError, match=message):
        to_tokens((feats,) if several else feats, 16)
