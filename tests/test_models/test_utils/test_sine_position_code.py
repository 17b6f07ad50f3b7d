# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from mlcl_plugin.models.utils.sine_position_code import sine_position_code


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (2, 5), (5, 2), (14, 14)])
@pytest.mark.parametrize(('embed_dims', 'temperature'), [(4, 10000.0), (12, 20.0)])
def test_by_hand(height, width, embed_dims, temperature):
    code = sine_position_code(height, width, embed_dims, temperature)
    assert code.shape == (height * width, embed_dims) and code.dtype == torch.float32
    half = embed_dims // 2
    for row in range(height):
        for column in range(width):
            expected = []
            for place in ((row + 1) / height, (column + 1) / width):
                for k in range(half // 2):
                    angle = 2 * math.pi * place / temperature ** (2 * k / half)
                    expected += [math.sin(angle), math.cos(angle)]
            assert code[row * width + column].tolist() == pytest.approx(
                expected, abs=1e-6
            )


def test_places_differ():
    """Also those that are mirror images or the same along one axis."""
    code = sine_position_code(3, 4, 8)
    distances = torch.cdist(code, code) + torch.eye(12)
    assert distances.min() > 0.1


def test_size_of_the_map():
    """A map of twice the size has the places of the smaller one among its own."""
    small = sine_position_code(3, 4, 8).view(3, 4, 8)
    large = sine_position_code(6, 8, 8).view(6, 8, 8)
    torch.testing.assert_close(large[1::2, 1::2], small, rtol=0, atol=1e-6)


@pytest.mark.parametrize('embed_dims', [0, 2, 6, 9, -4])
def test_bad_width(embed_dims):
    with pytest.raises(ValueError, match=f'a multiple of 4.*got {embed_dims}'):
        sine_position_code(2, 2, embed_dims)
