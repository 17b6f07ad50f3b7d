# SPDX-License-Identifier: Apache-2.0
"""Embeddings of labels as points of a map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/: told apart by all who see few
# colours. Without yellow, which is too pale on white.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#000000')
MARKERS = {'o': '●', '^': '▲', 's': '■', 'D': '◆', 'v': '▼', 'P': '✚'}
"""Markers, and what stands for them before a name."""
OTHERS = '#afb8c1'
MAX_NAME = 24
SIDE = 5.6
SHAPES = (0.5, 1.2)
"""Least and largest height of a map, in widths."""
STEPS = [
    radius * np.array([np.cos(angle), np.sin(angle)])
    for radius in range(0, 900, 6)
    for angle in np.linspace(0, 2 * np.pi, 1 if radius == 0 else 24, endpoint=False)
]
"""Where a name is tried, in pixels from its place, the nearest first."""


def embedding_map(
    points: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    title: str,
    max_labels: int = 20,
) -> Figure:
    """Draw points, coloured by their label, and write its name where most of them are.

    Labels have a colour and a marker; no two have both the same up to 42 labels. The
    most frequent ones are named, the others are grey.

    Args:
        points (np.ndarray): ``(n, 2)``.
        labels (np.ndarray): ``(n,)`` int, the label of each.
        classes (Sequence[str]): L names.
        title (str): A line above.
        max_labels (int): Largest number of labels that are named. Defaults to 20.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no point, a shape does not fit, or ``max_labels`` is
            not positive.
    """
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(f'points must be (n, 2), at least one, got {points.shape}.')
    if labels.shape != (len(points),):
        raise ValueError(f'labels must be ({len(points)},), got {labels.shape}.')
    if max_labels < 1:
        raise ValueError(f'max_labels must be positive, got {max_labels}.')
    counts = np.bincount(labels, minlength=len(classes))
    order = np.argsort(-counts, kind='stable')
    named = [int(label) for label in order[:max_labels] if counts[label]]

    low, high = points.min(axis=0), points.max(axis=0)
    size = np.maximum(high - low, 1e-9)
    shape = float(np.clip(size[1] / size[0], *SHAPES))
    figure = Figure(
        figsize=(SIDE, shape * SIDE + 0.6),
        dpi=130,
        facecolor='white',
        layout='constrained',
    )
    figure.suptitle(title, x=0.02, ha='left', fontsize=12, weight='bold')
    for text in figure.texts:
        text.set_parse_math(False)
    ax = figure.subplots()
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color('#d0d7de')
    ax.set_xlim(low[0] - 0.06 * size[0], high[0] + 0.06 * size[0])
    ax.set_ylim(low[1] - 0.06 * size[1], high[1] + 0.06 * size[1])
    area = float(np.clip(8000 / len(points), 8, 40))
    rest = ~np.isin(labels, named)
    style: dict[str, Any] = dict(s=area, linewidths=0, alpha=0.75)
    ax.scatter(*points[rest].T, color=OTHERS, **style)
    texts = []
    for number, label in enumerate(named):
        own = points[labels == label]
        colour = COLOURS[number % len(COLOURS)]
        marker = list(MARKERS)[number // len(COLOURS) % len(MARKERS)]
        ax.scatter(*own.T, color=colour, marker=marker, **style)
        # The point that is nearest to all others: means may lie in other labels.
        sample = own[:: max(1, len(own) // 300)]
        distances = np.linalg.norm(own[:, None] - sample[None], axis=2).sum(axis=1)
        name = ' '.join(classes[label].split())
        name = name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + '…'
        texts.append(
            ax.annotate(
                f'{MARKERS[marker]} {name}',
                own[distances.argmin()],
                xytext=(0, 0),
                textcoords='offset points',
                ha='center',
                va='center',
                fontsize=9,
                weight='bold',
                color=colour,
                parse_math=False,
                path_effects=[withStroke(linewidth=2.5, foreground='white')],
                arrowprops=dict(
                    arrowstyle='-', color=colour, linewidth=0.8, shrinkA=0, shrinkB=0
                ),
            )
        )
    shown = f'{len(named)} of {int((counts > 0).sum())} labels are named'
    ax.set_xlabel(
        f'{len(points):,} embeddings of labels that are present; {shown}',
        fontsize=9,
        color='#57606a',
    )
    _push_apart(figure, texts)
    return figure


def _push_apart(figure: Figure, texts: Sequence[Text]) -> None:
    """Move names so that they do not overlap, and stay inside of the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    frame = figure.axes[0].get_window_extent(renderer)
    boxes = [text.get_window_extent(renderer) for text in texts]
    sizes = np.array([[box.width + 6, box.height + 4] for box in boxes])
    anchors = np.array(
        [figure.axes[0].transData.transform(text.xy) for text in texts]  # type: ignore[attr-defined]
    ).reshape(-1, 2)
    corner, opposite = np.array(frame.p0), np.array(frame.p1)
    places: list[np.ndarray] = []
    for anchor, size in zip(anchors, sizes):
        tried = (anchor + step for step in STEPS)
        inside = (
            np.minimum(np.maximum(place, corner + size / 2), opposite - size / 2)
            for place in tried
        )
        free = (
            place
            for place in inside
            if all(
                (np.abs(place - other) >= (size + own) / 2).any()
                for other, own in zip(places, sizes)
            )
        )
        # So many names that there is no room are written over each other.
        places.append(next(free, anchor))
    points_of_pixel = 72 / figure.dpi
    for text, shift in zip(texts, (np.array(places) - anchors) * points_of_pixel):
        text.set_position(tuple(shift))
