# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from mlcl_plugin.visualization.label_scores import FOUND, OTHER, label_scores_picture

CLASSES = ['cat', 'dog', 'owl', 'cow', 'hen', 'a $formula_ of a name that is too long']
SCORES = [0.2, 0.9, 0.4, 0.6, 0.1, 0.8]
THRESHOLDS = [0.1, 0.5, 0.5, 0.7, 0.5, 0.5]
IMAGE = np.tile(np.arange(60, dtype=np.uint8)[None, :, None], (40, 1, 3))


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for ax in figure.axes for text in ax.texts]


def bars(figure):
    """Widths of the coloured bars as shares of the pale ones, and their colours."""
    patches = figure.axes[1].patches
    return [
        (bar.get_width() / full.get_width(), bar.get_facecolor())
        for full, bar in zip(patches[::2], patches[1::2])
    ]


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_rows():
    figure = label_scores_picture(
        IMAGE, SCORES, THRESHOLDS, CLASSES, title='photo_$1$.jpg'
    )
    got = texts(figure)
    assert '3 labels found' in got and 'photo_$1$.jpg' in got
    # found by falling score, then others up to five
    rows = [text for text in got if text in CLASSES]
    assert rows == ['dog', 'cat', 'cow', 'owl']
    assert 'a $formula_ of a name…' in got
    expected = [(0.9, FOUND), (0.8, FOUND), (0.2, FOUND), (0.6, OTHER), (0.4, OTHER)]
    for (width, colour), (score, name) in zip(bars(figure), expected, strict=True):
        assert width == pytest.approx(score) and colour == to_rgba(name)
    # a tick at each threshold
    axes = figure.axes[1]
    full = axes.patches[0]
    ticks = [
        (line.get_xdata()[0] - full.get_x()) / full.get_width() for line in axes.lines
    ]
    assert ticks == pytest.approx([0.5, 0.5, 0.1, 0.7, 0.5])
    picture = pixels(figure)
    assert picture.shape[1] > picture.shape[0] > 200 and picture.std() > 10


@pytest.mark.parametrize('shape', [(400, 3, 3), (3, 400, 3), (1, 1, 3)])
def test_odd_images(shape):
    figure = label_scores_picture(
        np.zeros(shape, np.uint8), SCORES, THRESHOLDS, CLASSES
    )
    left, bottom, width, height = figure.axes[0].get_position().bounds
    assert 0 <= left < left + width <= 1 and 0 <= bottom < bottom + height <= 1
    dark = (pixels(figure) == 0).all(axis=2).sum()
    assert dark > 5000


def test_a_score_at_its_threshold_is_found():
    scores = np.array(SCORES, dtype=np.float64)
    thresholds = scores + np.array([0, 1e-9, 0, 1e-9, 0, 1e-9])
    assert '3 labels found' in texts(
        label_scores_picture(IMAGE, scores, thresholds, CLASSES)
    )


def test_none_found():
    figure = label_scores_picture(IMAGE, SCORES, [1] * 6, CLASSES)
    assert {'no label found', 'highest scores:'} <= set(texts(figure))
    assert [width for width, _ in bars(figure)] == pytest.approx(
        [0.9, 0.8, 0.6, 0.4, 0.2]
    )


def test_more_found_than_shown():
    figure = label_scores_picture(IMAGE, SCORES, [0] * 6, CLASSES, max_labels=2)
    assert {'6 labels found', 'and 4 more'} <= set(texts(figure))
    assert len(bars(figure)) == 2
    figure = label_scores_picture(IMAGE, [0.7], [0.5], ['a_long_word_without_a_blank'])
    assert 'a_long_word_without_…' in texts(figure)
    assert '1 label found' in texts(figure) and len(bars(figure)) == 1


def test_given_labels():
    """Fewer than pass their thresholds, as with the best k."""
    found = np.arange(6) == 1
    figure = label_scores_picture(IMAGE, SCORES, THRESHOLDS, CLASSES, found=found)
    assert '1 label found' in texts(figure)
    assert [colour for _, colour in bars(figure)].count(to_rgba(FOUND)) == 1


def test_attention():
    maps = {label: np.full((2, 2), 0.0) for label in range(6)}
    for label in range(6):
        maps[label][0, label % 2] = 1
    view = np.full((50, 50, 3), 200, np.uint8)
    figure = label_scores_picture(
        IMAGE, SCORES, THRESHOLDS, CLASSES, view=view, attention=maps
    )
    # One for each label found, which cow and owl are not.
    tiles = figure.axes[2:]
    assert len(tiles) == 3
    names = [text.get_text() for text in figure.texts]
    assert names[-3:] == ['dog', 'a $formula_ of a name…', 'cat']
    # dog is 1: it looks to the upper right, cat is 0: to the upper left
    for tile, column in zip(tiles, (1, 1, 0)):
        heat = tile.images[1].get_array()
        assert heat.shape == (50, 50)
        assert heat[5, 45 * column] > 0.9 > 0.1 > heat[45, 45]
    bottoms = [tile.get_position().y0 for tile in tiles]
    assert all(0 < bottom < figure.axes[0].get_position().y0 for bottom in bottoms)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(scores=[0.5]), r"got the shapes \{'scores': \(1,\)"),
        (dict(found=[True]), "one entry for each of the 6 classes.*'found'"),
        (dict(classes=[], scores=[], thresholds=[]), 'each of the 0 classes'),
        (dict(image=IMAGE[..., 0]), r'image must be \(H, W, 3\), got \(40, 60\)'),
        (dict(view=IMAGE[..., :2]), r'view must be \(H, W, 3\), got \(40, 60, 2\)'),
        (dict(max_labels=0), 'max_labels must be positive, got 0'),
    ],
)
def test_bad_arguments(arguments, message):
    given = dict(image=IMAGE, scores=SCORES, thresholds=THRESHOLDS, classes=CLASSES)
    with pytest.raises(ValueError, match=message):
        label_scores_picture(**given | arguments)
