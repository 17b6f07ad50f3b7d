# SPDX-License-Identifier: Apache-2.0
"""A photograph, and those whose label is most like its label."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .paper import GAP, MARGIN, Paper, fit_lines, line_height

GREEN, ORANGE, GREY, INK = '#1a7f37', '#9a5700', '#57606a', '#24292f'
COLUMNS = 3
# In inches; narrow enough that letters can be read on a phone.
TILE, QUERY = 1.5, 2.2


class Neighbour(NamedTuple):
    """A photograph that was found.

    Attributes:
        image (np.ndarray, optional): ``(H, W, 3)`` uint8, RGB; None if its file cannot
            be read.
        name (str): The name of its file.
        similarity (float): The cosine of the embeddings.
        present (bool, optional): Whether it is annotated to have the label; None if
            that is not known.
    """

    image: np.ndarray | None
    name: str
    similarity: float
    present: bool | None


def neighbour_sheet(
    query: np.ndarray | None,
    name: str,
    label: str,
    neighbours: Sequence[Neighbour],
) -> Figure:
    """Draw a photograph above its neighbours.

    Args:
        query (np.ndarray, optional): ``(H, W, 3)`` uint8, RGB; None if its file cannot
            be read.
        name (str): The name of its file.
        label (str): The label that is compared.
        neighbours (Sequence[Neighbour]): By falling similarity.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.
    """
    line = line_height(9)
    rows = [
        neighbours[first : first + COLUMNS]
        for first in range(0, len(neighbours), COLUMNS)
    ]
    heights = [max(_height(own.image, TILE) for own in row) for row in rows]
    steps = [height + 2 * line + GAP for height in heights] or [line]
    photo = max(_height(query, QUERY), 1.2)
    width = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
    head = MARGIN + photo + 0.2 + line_height(10)
    paper = Paper(width, head + sum(steps) + MARGIN)
    _draw(paper.axes(MARGIN, MARGIN, QUERY, photo), query, 'NW')
    x, y = MARGIN + QUERY + 0.15, MARGIN
    room = width - x - MARGIN
    for text, size, weight in (
        (label, 13, 'bold'),
        ('in', 9, 'normal'),
        (name, 9, 'normal'),
    ):
        lines = fit_lines(text, room, size, most=3)
        paper.text(x, y, '\n'.join(lines), size, weight=weight, color=INK)
        y += len(lines) * line_height(size) + 0.06
    paper.text(MARGIN, MARGIN + photo + 0.12, 'most like it:', 10, color=INK)
    if not neighbours:
        paper.text(MARGIN, head, 'no other photograph has the label', 9, color=GREY)
    y = head
    for row, height, step in zip(rows, heights, steps):
        for column, neighbour in enumerate(row):
            x = MARGIN + column * (TILE + GAP)
            _draw(paper.axes(x, y, TILE, height), neighbour.image, 'SW')
            text, colour = _describe(neighbour)
            paper.text(x, y + height + 0.03, text, 9, color=colour)
            short = fit_lines(neighbour.name, TILE, 8, most=1)[0]
            paper.text(x, y + height + 0.03 + line, short, 8, color=GREY)
        y += step
    return paper.figure


def _describe(neighbour: Neighbour) -> tuple[str, str]:
    """Similarity, and whether the label is there, in words and with a colour."""
    similarity = f'{neighbour.similarity:.2f}'
    if neighbour.present is None:
        return similarity, INK
    if neighbour.present:
        return f'{similarity} ✓ present', GREEN
    return f'{similarity} ✗ absent', ORANGE


def _height(image: np.ndarray | None, width: float) -> float:
    """The height of a picture that is as wide as it may be, at most a square."""
    if image is None:
        return width / 2
    return width * min(1, image.shape[0] / image.shape[1])


def _draw(ax: Axes, image: np.ndarray | None, anchor: str) -> None:
    ax.set_anchor(anchor)
    ax.spines[:].set_visible(False)
    if image is None:
        ax.set_facecolor('#eaeef2')
        ax.text(0.5, 0.5, 'no image file', ha='center', fontsize=9, color=GREY)
    else:
        ax.imshow(image, interpolation='antialiased')
