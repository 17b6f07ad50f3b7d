# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.visualization import attention_page
from mlcl_plugin.visualization.attention_page import _alike, _groups
from tests.test_visualization.boxes import assert_no_overlap, text_boxes

LABELS = 80


def single(place, number=LABELS):
    """Maps that look at one place each; `place` is the place of each label."""
    maps = np.full((number, 4, 4), 1 / 16)
    for label, own in place.items():
        maps[label] = 0
        maps[label].flat[own] = 1
    return maps


def page(**changes):
    scores = np.full((2, LABELS), 0.01)
    scores[0, [3, 5, 7]] = 0.9, 0.8, 0.1
    targets = np.zeros((2, LABELS))
    targets[0, [3, 7]] = 1
    targets[0, 9] = -1
    maps = [single({3: 0, 5: 1, 7: 2, 8: 3})[None]] * 2
    options = dict(
        images=[
            np.full((60, 90, 3), 200, np.uint8),
            np.full((90, 60, 3), 200, np.uint8),
        ],
        scores=scores,
        maps=maps,
        targets=targets,
        classes=[f'a label of {n}' for n in range(LABELS)],
    )
    return attention_page(**(options | changes))


def texts(figure):
    return [' '.join(text.split()) for text, _ in text_boxes(figure)]


def test_eighty_labels():
    figure = page()
    found = texts(figure)
    for expected in (
        '2 present',
        '✓ a label of 3 0.90',
        '○ a label of 7 0.10',
        '78 absent',
        '✗ a label of 5 0.80',
        'no label is present',
    ):
        assert expected in found
    assert any('72 more, with scores up to 0.01' in text for text in found)
    # two photographs, and pictures of labels that look somewhere
    assert len(figure.axes) == 2 + 2 + 1 + 2
    assert_no_overlap(figure)


def test_the_sides_of_the_photograph_are_kept():
    for ax in page().axes:
        height, width = ax.images[0].get_array().shape[:2]
        box = ax.get_position()
        figure_width, figure_height = ax.figure.get_size_inches()
        drawn = box.height * figure_height / (box.width * figure_width)
        assert drawn == pytest.approx(height / width, rel=0.1)


@pytest.mark.parametrize('max_labels', [1, 6, 80])
def test_uniform_attention_is_one_line(max_labels):
    figure = page(maps=[single({})[None]] * 2, max_labels=max_labels)
    # nothing but the photographs
    assert len(figure.axes) == 2
    assert any('everywhere alike: ✓ a label of 3 0.90' in t for t in texts(figure))
    assert_no_overlap(figure)


def test_equal_maps_share_a_picture():
    maps = single({3: 5, 7: 5, 5: 1})
    assert _alike([3, 7, 5], maps) == [[3, 7], [5]]
    found = texts(page(maps=[maps[None]] * 2))
    assert any(text.startswith('2 alike: ✓ a label of 3') for text in found)


def test_groups_by_hand():
    scores = np.array([0.1, 0.9, 0.5, 0.7])
    targets = np.array([1, 0, -1, 1])
    present, absent = _groups(scores, targets, single({0: 1, 1: 2, 2: 3}, 4), 1)
    # the highest scores first, and labels that are not annotated with the absent ones
    assert present == ('2 present', [], [3], '1 more, with scores up to 0.10')
    assert absent == ('2 absent', [[1]], [], '1 more, with scores up to 0.50')


def test_names_are_no_formulas(tmp_path):
    names = ['$\\frac{$'] * LABELS
    page(classes=names).savefig(tmp_path / 'page.png')
    assert '✓ $\\frac{$ 0.90' in texts(page(classes=names))


@pytest.mark.parametrize('name', ['a' * 300, 'word ' * 60])
def test_long_names(name):
    assert_no_overlap(page(classes=[name] * LABELS, max_labels=12))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(images=[]), 'at least one image'),
        (dict(max_labels=0), 'max_labels'),
        (dict(scores=np.zeros((2, 3))), r'scores must have the shape \(2, 80\)'),
        (dict(maps=[np.zeros((1, LABELS, 4, 4))]), '2 images but 1 attention maps'),
        (dict(maps=[np.zeros((1, LABELS, 16))] * 2), 'every map must have the shape'),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        page(**changes)
