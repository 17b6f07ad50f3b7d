# SPDX-License-Identifier: Apache-2.0
"""An image beside the labels found in it, as a picture."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..evaluation.decisions import Decisions
from .label_attention import draw_map

FOUND, OTHER, TICK, GREY = '#1a7f37', '#afb8c1', '#24292f', '#57606a'
# In inches.
PICTURE, PANEL, GAP, MARGIN, ROW, HEAD, TILE = 4.2, 4.0, 0.25, 0.15, 0.34, 0.6, 1.5
TILE_HEAD, CAPTION = 0.36, 0.3


def _short(name: str) -> str:
    """Shorten a name to the space for it."""
    short = textwrap.shorten(name, 22, placeholder='…')
    # textwrap drops a single long word completely.
    return f'{name[:20]}…' if short == '…' else short


def label_scores_picture(
    image: np.ndarray,
    scores: Sequence[float] | np.ndarray,
    thresholds: Sequence[float] | np.ndarray,
    classes: Sequence[str],
    found: Sequence[bool] | np.ndarray | None = None,
    max_labels: int = 10,
    title: str | None = None,
    view: np.ndarray | None = None,
    attention: Mapping[int, np.ndarray] | None = None,
) -> Figure:
    """Draw an image beside its labels, each with a bar for its score.

    The labels that were found come first, by falling score, in colour. Pale rows below
    them, up to five rows in all, are the other labels with the highest scores. A tick
    on each bar is the label's threshold.

    Below, on request, one picture for each of the labels that were found shows where
    the network looked for it, drawn as in :func:`prediction_sheet`.

    Args:
        image (np.ndarray): ``(H, W, 3)`` uint8, RGB.
        scores (Sequence[float] | np.ndarray): ``(L,)`` from 0 to 1.
        thresholds (Sequence[float] | np.ndarray): ``(L,)``.
        classes (Sequence[str]): L names.
        found (Sequence[bool] | np.ndarray, optional): ``(L,)``, which labels were
            found. None takes those whose score is at least the threshold.
            Defaults to None.
        max_labels (int): Largest number of rows. Defaults to 10.
        title (str, optional): A line above, such as the name of the file.
            Defaults to None.
        view (np.ndarray, optional): ``(h, w, 3)`` uint8, RGB, the image as the network
            sees it, for ``attention``. None takes ``image``. Defaults to None.
        attention (Mapping[int, np.ndarray], optional): For labels, by their index, a
            map that sums to 1. Only labels that are shown as found get a picture.
            Defaults to None.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no label, a shape does not fit the others, or
            ``max_labels`` is not positive.
    """
    scores, thresholds = (np.asarray(x, dtype=float) for x in (scores, thresholds))
    maps = attention or {}
    if max_labels < 1:
        raise ValueError(f'max_labels must be positive, got {max_labels}.')
    shapes = dict(scores=scores.shape, thresholds=thresholds.shape)
    if found is not None:
        shapes['found'] = np.shape(found)
    if len(classes) == 0 or set(shapes.values()) != {(len(classes),)}:
        raise ValueError(
            'scores, thresholds and found must have one entry for each of the '
            f'{len(classes)} classes, got the shapes {shapes}.'
        )
    if found is None:
        found = Decisions.from_thr(thresholds.tolist(), len(classes)).predict(scores)
    mask = np.asarray(found, dtype=bool)
    for name, picture in (('image', image), ('view', view)):
        if picture is not None and (picture.ndim != 3 or picture.shape[2] != 3):
            raise ValueError(f'{name} must be (H, W, 3), got {picture.shape}.')
    view = image if view is None else view

    order = np.argsort(-scores, kind='stable')
    hits = [int(label) for label in order if mask[label]]
    others = [int(label) for label in order if not mask[label]]
    rows = (hits + others[: max(0, 5 - len(hits))])[:max_labels]
    tiles = [label for label in rows if mask[label] and label in maps]

    height, width = image.shape[:2]
    scale = PICTURE / max(height, width)
    # At least so wide and high that something can be seen.
    shape = [max(side * scale, 0.3) for side in (width, height)]
    hidden = len(hits) - sum(mask[label] for label in rows)
    panel = len(rows) * ROW + (hidden > 0) * ROW
    if not hits:
        panel += ROW
    body = max(shape[1], panel)
    total_width = 2 * MARGIN + PICTURE + GAP + PANEL
    columns = int((total_width - 2 * MARGIN + GAP) // (TILE + GAP))
    tile_rows = -(-len(tiles) // columns)
    tile_size = (TILE, TILE * min(view.shape[0] / view.shape[1], 1.5))
    tile_height = tile_size[1] + TILE_HEAD
    caption = CAPTION if tiles else 0
    total_height = HEAD + body + caption + tile_rows * tile_height + MARGIN
    figure = Figure(figsize=(total_width, total_height), dpi=110, facecolor='white')

    def place(x: float, y: float, size: Sequence[float]) -> Axes:
        """Add axes at a distance from the left and the upper edge."""
        return figure.add_axes(
            (
                x / total_width,
                1 - (y + size[1]) / total_height,
                size[0] / total_width,
                size[1] / total_height,
            )
        )

    def write(x: float, y: float, text: str, **kwargs) -> None:
        # matplotlib would read $ in a name as a formula.
        figure.text(
            x / total_width,
            1 - y / total_height,
            text,
            va='center',
            parse_math=False,
            **kwargs,
        )

    number = len(hits)
    heading = {0: 'no label found', 1: '1 label found'}.get(
        number, f'{number} labels found'
    )
    left = MARGIN + PICTURE + GAP
    write(left, HEAD / 2, heading, fontsize=11, weight='bold')
    legend = dict(fontsize=8, color=GREY, ha='right')
    write(total_width - MARGIN, HEAD / 2, 'tick: threshold', **legend)
    if title is not None:
        name = title if len(title) <= 48 else f'{title[:22]} … {title[-22:]}'
        write(MARGIN, HEAD / 2, name, fontsize=11)
    ax = place(MARGIN + (PICTURE - shape[0]) / 2, HEAD, shape)
    ax.imshow(image, aspect='auto', interpolation='antialiased')
    ax.axis('off')

    ax = place(left, HEAD, (PANEL, panel))
    ax.set(xlim=(0, PANEL), ylim=(panel, 0))
    ax.axis('off')
    start, length = 1.65, PANEL - 1.65 - 0.5
    top = 0.0
    if not hits:
        ax.text(0, 0.12, 'highest scores:', fontsize=9, color=GREY, va='center')
        top = ROW
    for row, label in enumerate(rows):
        y = top + row * ROW
        colour = FOUND if mask[label] else OTHER
        text: dict[str, Any] = dict(color=TICK if mask[label] else GREY, va='center')
        text['weight'] = 'bold' if mask[label] else 'normal'
        name = _short(classes[label])
        ax.text(0, y + ROW / 2, name, fontsize=10, parse_math=False, **text)
        for share, face in ((1, '#eaeef2'), (scores[label], colour)):
            ax.add_patch(
                Rectangle((start, y + 0.08), share * length, ROW - 0.16, facecolor=face)
            )
        if 0 <= thresholds[label] <= 1:
            x = start + thresholds[label] * length
            ax.plot([x, x], [y + 0.03, y + ROW - 0.03], color=TICK, linewidth=1.2)
        score = f'{scores[label]:.2f}'
        ax.text(start + length + 0.08, y + ROW / 2, score, fontsize=10, **text)
    if hidden:
        y = top + len(rows) * ROW + ROW / 2
        ax.text(0, y, f'and {hidden} more', fontsize=9, color=GREY, va='center')

    if tiles:
        explanation = (
            'Bright: where the network looks for this label. '
            'Nothing bright: it looks everywhere alike.'
        )
        write(
            MARGIN,
            HEAD + body + CAPTION / 2 + 0.05,
            explanation,
            fontsize=8,
            color=GREY,
        )
    for number, label in enumerate(tiles):
        row, column = divmod(number, columns)
        x = MARGIN + column * (TILE + GAP)
        y = HEAD + body + CAPTION + row * tile_height
        write(x, y + TILE_HEAD / 2 + 0.05, _short(classes[label]), fontsize=9)
        ax = place(x, y + TILE_HEAD, tile_size)
        draw_map(ax, view, np.asarray(maps[label], dtype=float))
        ax.set(xticks=[], yticks=[])
        ax.set_aspect('auto')
    return figure
