# SPDX-License-Identifier: Apache-2.0
"""Attention of all labels of photographs: those that are present against the others."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from ..evaluation.decisions import Decisions
from ..targets import is_present, is_unknown
from .heat import EVEN, attention_overlay, peak
from .label_attention import OUTCOMES, as_array, outcome_of
from .paper import GAP, MARGIN, Paper, fit_lines, line_height

COLUMNS = 3
# In inches; narrow enough that letters can be read on a phone.
TILE, PHOTO = 1.5, 2.6
ALIKE = 0.1
"""Part of the attention that may lie elsewhere in maps that are drawn as one."""
MAX_SHAPE = 1.6
"""Largest height of a picture, in widths; what is higher gets narrower."""
INK, GREY = '#24292f', '#57606a'
SYMBOLS = {name: (colour, words[0]) for name, (colour, words) in OUTCOMES.items()}
ABSENT = (GREY, '–')


class Group(NamedTuple):
    """Labels of an image that belong together.

    Attributes:
        title (str): What they have in common.
        tiles (list[tuple]): Their labels; several in one tile if their maps are alike.
        even (list[int]): Labels for which the network looks everywhere alike.
        rest (str): What is said of those that are not shown.
    """

    title: str
    tiles: list[list[int]]
    even: list[int]
    rest: str


def attention_page(
    images: Sequence[np.ndarray],
    scores: np.ndarray | torch.Tensor,
    maps: Sequence[np.ndarray | torch.Tensor],
    targets: np.ndarray | torch.Tensor,
    classes: Sequence[str],
    thr: float = 0.5,
    max_labels: int = 6,
    title: str | None = None,
) -> Figure:
    """Draw where a network looks for labels that are present, and for others.

    Below each photograph stand two groups: its present labels, and the absent ones with
    the highest scores. Labels for which the network looks everywhere alike are named in
    a line, and labels with the same map share a picture, in place of equal pictures.
    Maps are drawn as in :func:`prediction_sheet`.

    Args:
        images (Sequence[np.ndarray]): N images ``(H, W, 3)`` uint8, RGB, as the
            network sees them, with the sides of the photograph.
        scores (np.ndarray | Tensor): ``(N, L)`` from 0 to 1.
        maps (Sequence[np.ndarray | Tensor]): The attention for each image,
            ``(heads, L, h, w)``; or a tensor ``(N, heads, L, h, w)``.
        targets (np.ndarray | Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        classes (Sequence[str]): L names.
        thr (float): Lowest score with which a label is predicted. Defaults to 0.5.
        max_labels (int): Largest number of labels of each group that are drawn.
            Defaults to 6.
        title (str, optional): A line above. Defaults to None.

    Returns:
        matplotlib.figure.Figure: The page; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no image, a shape does not fit the others, or
            ``max_labels`` is not positive.
    """
    if len(images) == 0:
        raise ValueError('A page needs at least one image, got none.')
    if max_labels < 1:
        raise ValueError(f'max_labels must be positive, got {max_labels}.')
    shape = (len(images), len(classes))
    scores = as_array('scores', scores, shape)
    targets = as_array('targets', targets, shape)
    if len(maps) != len(images):
        raise ValueError(f'Got {len(images)} images but {len(maps)} attention maps.')
    means = [
        as_array('every map', own, (None, len(classes), None, None)).mean(axis=0)
        for own in maps
    ]
    images = [as_array('every image', image, (None, None, 3)) for image in images]
    found = Decisions.from_thr(thr, len(classes)).predict(scores)

    blocks = []
    for number, image in enumerate(images):
        groups = _groups(scores[number], targets[number], means[number], max_labels)
        words, colours = _describe(
            scores[number], found[number], targets[number], classes
        )
        blocks.append(_Block(image, means[number], groups, words, colours))
    width = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
    head = _head(title, width)
    heights = [block.height(width) for block in blocks]
    top = MARGIN + sum(line_height(size) * len(text) + 0.04 for text, size in head)
    paper = Paper(width, top + sum(heights) + MARGIN)
    y = MARGIN
    for text, size in head:
        weight = 'bold' if size > 10 else 'normal'
        paper.text(MARGIN, y, '\n'.join(text), size, weight=weight, color=INK)
        y += line_height(size) * len(text) + 0.04
    for number, block in enumerate(blocks):
        block.draw(paper, top)
        top += heights[number]
    return paper.figure


def _head(title: str | None, width: float) -> list[tuple[list[str], float]]:
    """Lines of text above the page, with their sizes."""
    room = width - 2 * MARGIN
    legend = '  '.join(words for _, words in OUTCOMES.values()) + '  – rightly absent'
    texts = [
        (title or 'Where the network looks for each label', 12),
        (
            'Bright: where it looks for this label (mean of its attention heads), with '
            'the score of the label.',
            8,
        ),
        (legend, 8),
    ]
    return [(fit_lines(text, room, size, most=4), size) for text, size in texts]


def _describe(
    scores: np.ndarray, found: np.ndarray, targets: np.ndarray, classes: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The outcome of each label with its name and score, and a colour."""
    present, unknown = is_present(targets), is_unknown(targets)
    words, colours = [], []
    for label, name in enumerate(classes):
        outcome = outcome_of(found[label], present[label], unknown[label])
        colour, symbol = SYMBOLS[outcome] if outcome else ABSENT
        words.append(f'{symbol} {name} {scores[label]:.2f}')
        colours.append(colour)
    return words, colours


def _groups(
    scores: np.ndarray, targets: np.ndarray, maps: np.ndarray, max_labels: int
) -> list[Group]:
    order = np.argsort(-scores, kind='stable')
    present = is_present(targets)
    groups = []
    for title, mask in (('present', present), ('absent', ~np.asarray(present))):
        own = [int(label) for label in order if mask[label]]
        if not own:
            groups.append(Group(f'no label is {title}', [], [], ''))
            continue
        shown, rest = own[:max_labels], own[max_labels:]
        even = [label for label in shown if peak(maps[label]) < EVEN]
        seen = [label for label in shown if label not in even]
        said = ''
        if rest:
            top = float(scores[rest].max())
            said = f'{len(rest):,} more, with scores up to {top:.2f}'
        noun = f'{len(own)} {title}' if len(own) > 1 else title
        groups.append(Group(noun, _alike(seen, maps), even, said))
    return groups


def _alike(labels: Sequence[int], maps: np.ndarray) -> list[list[int]]:
    """Join labels whose maps are those of a label before them."""
    tiles: list[list[int]] = []
    for label in labels:
        for tile in tiles:
            if 0.5 * np.abs(maps[label] - maps[tile[0]]).sum() < ALIKE:
                tile.append(label)
                break
        else:
            tiles.append([label])
    return tiles


class _Block:
    """A photograph with its groups of labels."""

    def __init__(
        self,
        image: np.ndarray,
        maps: np.ndarray,
        groups: list[Group],
        words: Sequence[str],
        colours: Sequence[str],
    ):
        self.image, self.maps, self.groups = image, maps, groups
        self.words, self.colours = words, colours
        shape = min(image.shape[0] / image.shape[1], MAX_SHAPE)
        self.tile = TILE * shape
        self.photo = min(PHOTO, PHOTO * shape)

    def _lines(self, group: Group, width: float) -> list[str]:
        """Lines below the pictures of a group, with names of labels."""
        texts = []
        if group.even:
            names = ', '.join(self.words[label] for label in group.even)
            texts.append(f'everywhere alike: {names}')
        texts += [group.rest] * bool(group.rest)
        room = width - 2 * MARGIN
        return [line for text in texts for line in fit_lines(text, room, 9, most=8)]

    def height(self, width: float) -> float:
        """Height of all in inches."""
        total = self.photo + 0.2
        for group in self.groups:
            rows = math.ceil(len(group.tiles) / COLUMNS)
            total += line_height(10) + 0.08
            total += rows * (self.tile + 2 * line_height(9) + GAP)
            total += len(self._lines(group, width)) * line_height(9) + 0.08
        return total + 0.15

    def draw(self, paper: Paper, y: float) -> None:
        """Draw all from a height on."""
        height, width = self.image.shape[:2]
        self._picture(paper, MARGIN, y, self.photo * width / height, self.photo, None)
        y += self.photo + 0.2
        for group in self.groups:
            paper.text(MARGIN, y, group.title, 10, weight='bold', color=INK)
            y += line_height(10) + 0.08
            for place, labels in enumerate(group.tiles):
                row, column = divmod(place, COLUMNS)
                x = MARGIN + column * (TILE + GAP)
                top = y + row * (self.tile + 2 * line_height(9) + GAP)
                first = labels[0]
                text, colour = self.words[first], self.colours[first]
                if len(labels) > 1:
                    names = ', '.join(self.words[label] for label in labels)
                    text = f'{len(labels)} alike: {names}'
                lines = fit_lines(text, TILE, 9, most=2)
                low = top + 2 * line_height(9) - 0.04
                paper.text(x, low, '\n'.join(lines), 9, color=colour, va='bottom')
                self._picture(
                    paper, x, top + 2 * line_height(9), TILE, self.tile, first
                )
            rows = math.ceil(len(group.tiles) / COLUMNS)
            y += rows * (self.tile + 2 * line_height(9) + GAP)
            lines = self._lines(group, paper.width)
            if lines:
                paper.text(MARGIN, y, '\n'.join(lines), 9, color=GREY)
            y += len(lines) * line_height(9) + 0.08

    def _picture(
        self, paper: Paper, x: float, y: float, wide: float, high: float, label
    ) -> None:
        ax = paper.axes(x, y, wide, high)
        ax.set_anchor('NW')
        ax.spines[:].set_visible(False)
        image = self.image
        if label is not None:
            image = attention_overlay(image, self.maps[label])
        ax.imshow(image, interpolation='antialiased')
