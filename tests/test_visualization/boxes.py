# SPDX-License-Identifier: Apache-2.0
"""Where the text of a picture lies."""

import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def text_boxes(figure):
    """Boxes of all texts of a picture that show something, by their text."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        figure.draw_without_rendering()
    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    return [
        # Without the line from a name to its place.
        (text.get_text(), Text.get_window_extent(text, renderer))
        for text in texts
        if text.get_text().strip()
    ]


def assert_no_overlap(figure, slack=1):
    """No two texts overlap, and all lie inside of the picture, up to some pixels."""
    boxes = text_boxes(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for place, (text, box) in enumerate(boxes):
        assert box.x0 >= -slack and box.y0 >= -slack, text
        assert box.x1 <= width + slack and box.y1 <= height + slack, text
        for other, own in boxes[:place]:
            apart = (
                box.x1 <= own.x0 + slack
                or own.x1 <= box.x0 + slack
                or box.y1 <= own.y0 + slack
                or own.y1 <= box.y0 + slack
            )
            assert apart, f'{text!r} and {other!r}'
