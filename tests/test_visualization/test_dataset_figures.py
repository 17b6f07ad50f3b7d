# SPDX-License-Identifier: Apache-2.0
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mlcl_plugin.visualization.dataset_figures import (
    MAX_NAME,
    cooccurrence_matrix,
    label_histogram,
    sample_sheet,
)


def render(figure):
    """The pixels of a figure; texts that run out of it are an error."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for ax in figure.axes:
        found += [text.get_text() for text in ax.texts]
        found += [ax.get_title(loc='left'), ax.get_xlabel()]
        for axis in (ax.xaxis, ax.yaxis):
            found += [label.get_text() for label in axis.get_ticklabels()]
    return found


def test_histogram():
    figure = label_histogram(
        np.array([3, 10, 0]),
        np.array([0, 2, 7]),
        np.array([1, 1, 0, 3]),
        'abc',
        'Title',
    )
    pixels = render(figure)
    assert pixels.std() > 10
    bars, _, numbers = figure.axes
    assert [bar.get_width() for bar in bars.patches] == [10, 3, 0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ['b', 'a', 'c']
    assert [bar.get_height() for bar in numbers.patches] == [1, 2, 0, 1]
    shown = ' '.join(texts(figure))
    for text in ('10 (2 unknown)', '0 (7 unknown)', '1 never present', 'All labels'):
        assert text in shown
    assert '3 (' not in shown and '1.25 on average' in shown


def test_histogram_says_what_it_shows():
    present = np.arange(1000)
    figure = label_histogram(
        present, 0 * present, np.ones(5), [f'n{i}' for i in present], '', max_labels=3
    )
    render(figure)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [999, 998, 997]
    assert 'The 3 most frequent of 1,000 labels' in texts(figure)


def test_histogram_without_labels():
    """No label is present in any image, of which there is none."""
    figure = label_histogram([0, 0], [0, 0], np.zeros(0), 'ab', 'Nothing')
    render(figure)
    assert '0.00 on average' in ' '.join(texts(figure))


def test_cooccurrence():
    counts = np.array([[10, 5, 0], [5, 5, 1], [0, 1, 0]])
    figure = cooccurrence_matrix(counts, ['a', 'b', 'c'], 'Title')
    render(figure)
    shares = figure.axes[0].images[0].get_array()
    expected = [[np.nan, 0.5, 0], [1, np.nan, 0.2], [0, 0, np.nan]]
    np.testing.assert_allclose(shares.filled(np.nan), expected)
    shown = texts(figure)
    for number in ('50', '100', '20'):
        assert number in shown
    assert 'all labels' in ' '.join(shown)


def test_cooccurrence_says_what_it_shows():
    counts = np.diag(np.arange(60, 0, -1))
    figure = cooccurrence_matrix(counts, [f'n{i}' for i in range(60)], '', 9600)
    render(figure)
    assert figure.axes[0].images[0].get_array().shape == (40, 40)
    title = ' '.join(' '.join(texts(figure)).split())
    assert 'the 40 most frequent of 9,600 labels' in title


def test_one_label():
    render(cooccurrence_matrix(np.array([[3]]), ['a'], ''))
    render(label_histogram([3], [0], np.ones(3), ['a'], ''))


def test_names_are_no_formulas_and_not_too_long():
    names = ['$x', 'x' * 100, 'two\nlines', '$\\frac{a$', '']
    counts = np.diag([5, 4, 3, 2, 1])
    figures = [
        label_histogram([5, 4, 3, 2, 1], [0] * 5, np.ones(5), names, '$title'),
        cooccurrence_matrix(counts, names, '$title'),
        sample_sheet(
            [np.zeros((8, 8, 3), np.uint8)], [np.ones(5)], ['$f.jpg'], names, '$title'
        ),
    ]
    for figure in figures:
        render(figure)
        shown = texts(figure)
        assert '$x' in shown and 'two lines' in shown and '$\\frac{a$' in shown
        assert 'x' * (MAX_NAME - 1) + '…' in shown
        assert 'x' * MAX_NAME not in ' '.join(shown)


def test_sheet():
    red = np.full((20, 40, 3), (255, 0, 0), dtype=np.uint8)
    grey = np.full((40, 20), 128, dtype=np.uint8)[..., None].repeat(3, axis=2)
    figure = sample_sheet(
        [red, grey, None, red],
        [np.array([1, -1, 0]), np.array([0, 0, 0]), None, np.array([1, 1, 1])],
        ['a.jpg', 'b' * 60 + '.jpg', 'c.jpg', 'd.jpg'],
        ['cat', 'dog', 'owl'],
        'Title',
        columns=3,
        max_labels=2,
    )
    pixels = render(figure)
    assert (pixels == (255, 0, 0)).all(-1).any()
    shown = texts(figure)
    for text in ('a.jpg', 'cat', '? dog', 'no label', 'cannot be read', 'and 1 more'):
        assert text in shown, text
    assert 'wrongly annotated' in shown and '…' + 'b' * 21 + '.jpg' in shown
    # from left to right, and the fourth below the first
    boxes = [ax.get_position() for ax in figure.axes]
    assert boxes[0].x0 < boxes[1].x0 < boxes[2].x0
    assert boxes[3].x0 == boxes[0].x0 and boxes[3].y1 < boxes[0].y0


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r'present must have the shape \(2,\).*\(3,\)'):
        label_histogram([1, 2, 3], [0, 0], [1], 'ab', '')
    with pytest.raises(ValueError, match=r'counts must have the shape \(2, 2\)'):
        cooccurrence_matrix(np.zeros((2, 3)), 'ab', '')
    with pytest.raises(ValueError, match='Got 1 images, 1 targets and 2 names'):
        sample_sheet([None], [None], 'ab', 'ab', '')
    with pytest.raises(ValueError, match='at least one image'):
        sample_sheet([], [], [], 'ab', '')
    for draw in (
        lambda: label_histogram([1], [0], [1], 'a', '', max_labels=0),
        lambda: cooccurrence_matrix(np.ones((1, 1)), 'a', '', max_labels=0),
    ):
        with pytest.raises(ValueError, match='max_labels must be positive, got 0'):
            draw()
