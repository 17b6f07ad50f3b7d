# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.visualization.neighbour_sheet import Neighbour, neighbour_sheet
from tests.test_visualization.boxes import assert_no_overlap, text_boxes

WIDE, HIGH = np.zeros((40, 90, 3), np.uint8), np.zeros((90, 40, 3), np.uint8)


@pytest.mark.parametrize('number', [0, 1, 3, 10])
@pytest.mark.parametrize('query', [WIDE, HIGH, None])
def test_sheet(number, query):
    neighbours = [
        Neighbour(
            (WIDE, HIGH, None)[n % 3],
            f'{n}.jpg',
            1 - n / 10,
            (True, False, None)[n % 3],
        )
        for n in range(number)
    ]
    figure = neighbour_sheet(query, 'rex.jpg', 'dog', neighbours)
    assert len(figure.axes) == 1 + number
    texts = [text for text, _ in text_boxes(figure)]
    assert 'dog' in texts and 'rex.jpg' in texts
    for n in range(number):
        words = ('✓ present', '✗ absent', '')[n % 3]
        assert f'{1 - n / 10:.2f} {words}'.strip() in texts and f'{n}.jpg' in texts
    assert ('no other photograph has the label' in texts) == (number == 0)
    assert_no_overlap(figure)


def test_long_names_and_formulas(tmp_path):
    name = '$\\frac{$' + 'x' * 300
    figure = neighbour_sheet(None, name, name, [Neighbour(HIGH, name, 0.5, True)] * 4)
    figure.savefig(tmp_path / 'sheet.png')
    assert_no_overlap(figure)
