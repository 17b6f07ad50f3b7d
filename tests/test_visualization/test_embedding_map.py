# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.visualization.embedding_map import COLOURS, MARKERS, embedding_map
from tests.test_visualization.boxes import assert_no_overlap


def draw(number=400, count=12, spread=1.0, **changes):
    random = np.random.default_rng(0)
    own = random.integers(0, count, number)
    centres = spread * random.standard_normal((count, 2))
    points = centres[own] + 0.3 * random.standard_normal((number, 2))
    options = dict(
        points=points,
        labels=own,
        classes=[f'label number {n}' for n in range(count)],
        title='A $title',
    )
    return embedding_map(**(options | changes))


@pytest.mark.parametrize(
    ('count', 'spread'), [(1, 1.0), (12, 1.0), (20, 0.0), (80, 1.0), (20, 30.0)]
)
def test_names_do_not_overlap(count, spread, tmp_path):
    figure = draw(count=count, spread=spread)
    (ax,) = figure.axes
    assert len(ax.texts) == min(count, 20)
    assert_no_overlap(figure)
    figure.savefig(tmp_path / 'map.png')


def test_every_point_is_drawn_in_the_style_of_its_label():
    figure = draw(number=300, count=50, max_labels=42)
    grey, *named = figure.axes[0].collections
    assert len(grey.get_offsets()) + sum(len(c.get_offsets()) for c in named) == 300
    assert len(named) == 42
    styles = {
        (tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes())
        for c in named
    }
    assert len(styles) == 42 == len(COLOURS) * len(MARKERS)
    assert '42 of' in figure.axes[0].get_xlabel()


def test_the_most_frequent_labels_are_named():
    labels = np.repeat([0, 1, 2], [2, 9, 5])
    points = np.random.default_rng(0).standard_normal((16, 2))
    figure = embedding_map(points, labels, ['a', 'b', 'c'], '', max_labels=2)
    assert [text.get_text() for text in figure.axes[0].texts] == ['● b', '● c']


@pytest.mark.parametrize('points', [np.zeros((1, 2)), np.zeros((5, 2))])
def test_points_in_one_place(points, tmp_path):
    figure = embedding_map(points, np.zeros(len(points), int), ['a'], '')
    figure.savefig(tmp_path / 'map.png')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(points=np.zeros((0, 2))), 'at least one'),
        (dict(points=np.zeros((4, 3))), r'must be \(n, 2\)'),
        (dict(labels=np.zeros(3, int)), 'labels must be'),
        (dict(max_labels=0), 'max_labels must be positive'),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        draw(**changes)
