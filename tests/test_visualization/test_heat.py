# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.visualization.heat import (
    EVEN,
    FULL_HEAT,
    attention_overlay,
    heat_map,
    peak,
)


def test_peak():
    even = np.full((4, 5), 1 / 20)
    assert peak(even) == pytest.approx(1) and peak(even) < EVEN
    single = np.zeros((4, 5))
    single[1, 2] = 1
    assert peak(single) == 20


@pytest.mark.parametrize('times_even', [0.2, 1, 2, FULL_HEAT, 7])
def test_heat_by_hand(times_even):
    attention = np.full((3, 3), (9 - times_even) / 72)
    attention[1, 1] = times_even / 9
    largest = attention.max() * 9
    expected = [
        [max(0, (9 * value - 1) / (max(FULL_HEAT, largest) - 1)) for value in row]
        for row in attention
    ]
    # as many pixels as places: nothing to interpolate
    np.testing.assert_allclose(heat_map(attention, 3, 3), expected, rtol=1e-6)


def test_overlay():
    image = np.full((6, 6, 3), 255, np.uint8)
    even = attention_overlay(image, np.full((3, 3), 1 / 9))
    assert even.dtype == np.uint8 and (even == 255).all()
    black = attention_overlay(0 * image, np.full((3, 3), 1 / 9))
    # pale, so that heat is seen on it
    assert black.min() == black.max() == round(255 * 160 / 415)
    attention = np.zeros((3, 3))
    attention[0, 0] = 1
    warm = attention_overlay(image, attention)
    assert (warm[-1] == 255).all() and warm[0, 0].max() - warm[0, 0].min() > 100
