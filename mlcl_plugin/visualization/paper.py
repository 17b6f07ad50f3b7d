# SPDX-License-Identifier: Apache-2.0
"""A picture that is laid out in inches from its upper left corner."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

MARGIN, GAP = 0.15, 0.12
"""In inches."""


class Paper:
    """Places axes and text at distances from the left and the upper edge, in inches.

    Args:
        width (float): Width of the picture.
        height (float): Its height.
        dpi (int): Pixels of an inch. Defaults to 130.
    """

    def __init__(self, width: float, height: float, dpi: int = 130):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=dpi, facecolor='white')

    def axes(self, x: float, y: float, wide: float, high: float) -> Axes:
        """Axes without ticks."""
        ax = self.figure.add_axes(
            (
                x / self.width,
                1 - (y + high) / self.height,
                wide / self.width,
                high / self.height,
            )
        )
        ax.set(xticks=[], yticks=[])
        return ax

    def text(self, x: float, y: float, text: str, size: float = 9, **kwargs: Any):
        """Text below a height."""
        options: dict[str, Any] = dict(va='top', linespacing=1.2, fontsize=size)
        # matplotlib would read $ in a name as a formula.
        return self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            parse_math=False,
            **(options | kwargs),
        )


def line_height(size: float = 9) -> float:
    """The height of a line of text, in inches."""
    return 1.28 * size / 72


def fit_lines(text: str, width: float, size: float = 9, most: int = 2) -> list[str]:
    """Break text into lines of a width in inches, and cut off what is too much.

    Letters of DejaVu Sans are 0.6 of their size wide on average, those of East Asia as
    wide as high; these count twice.

    Examples:
        >>> fit_lines('potted plant', 0.5, size=9)
        ['potted', 'plant']
        >>> fit_lines('a' * 100, 0.5, size=9, most=1)
        ['aaaaa…']
    """
    wide = any(ord(letter) > 0x2E80 for letter in text)
    letters = max(2, int(width * 72 / (size * (1.1 if wide else 0.62))))
    lines = textwrap.wrap(' '.join(text.split()), letters) or ['']
    if len(lines) > most:
        lines = lines[:most]
        lines[-1] = lines[-1][: letters - 1] + '…'
    return lines
