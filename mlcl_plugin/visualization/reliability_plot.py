# SPDX-License-Identifier: Apache-2.0
"""Plot of scores and how often labels are present."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..evaluation.calibration import Reliability, calibration_error

COLOURS = {'before': '#bc6c00', 'after': '#0969da'}
MARKERS = {'before': 's', 'after': 'o'}
MAX_LABELS = 40


def reliability_plot(
    curves: dict[str, Reliability],
    errors: dict[str, np.ndarray],
    classes: Sequence[str],
    title: str,
) -> Figure:
    """Draw reliability before and, if given, after calibration.

    Left: the fraction of entries that are present over their mean score, bin by bin,
    with its 95 % interval (Wilson); below it the number of entries of each bin. Right:
    the expected calibration error of each label, the largest first; with many labels
    the first 40.

    Args:
        curves (dict[str, Reliability]): ``'before'`` and perhaps ``'after'``, of all
            labels together.
        errors (dict[str, np.ndarray]): With the same keys, ``(L,)`` from 0 to 1; nan
            for labels without a known entry, which are left out.
        classes (Sequence[str]): L names.
        title (str): The line above.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.
    """
    order = np.argsort(-errors['before'], kind='stable')
    order = order[~np.isnan(errors['before'][order])][:MAX_LABELS]
    height = max(5.4, 1.6 + 0.17 * len(order))
    figure = Figure(figsize=(10.5, height), dpi=120, facecolor='white')
    # In inches, so that the number of labels does not change the shape of the curve.
    width = figure.get_size_inches()[0]

    def place(left: float, bottom: float, wide: float, high: float) -> Axes:
        return figure.add_axes(
            (left / width, bottom / height, wide / width, high / height)
        )

    figure.text(
        0.2 / width,
        1 - 0.15 / height,
        title,
        va='top',
        fontsize=11,
        weight='bold',
        parse_math=False,
    )
    top = height - 0.75
    _draw_curves(place(0.75, top - 3.1, 4.1, 3.1), curves)
    _draw_counts(place(0.75, top - 4.2, 4.1, 0.75), curves)
    names = max((len(str(classes[label])) for label in order), default=0)
    margin = min(0.3 + 0.075 * names, 2.2)
    ax = place(5.35 + margin, 0.6, 4.9 - margin, top - 0.6)
    _draw_errors(ax, errors, order, classes)
    return figure


def reliability_panel(curves: dict[str, Reliability]) -> Figure:
    """Draw the left part of :func:`reliability_plot` as a picture of its own.

    Args:
        curves (dict[str, Reliability]): ``'before'`` and perhaps ``'after'``.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.
    """
    figure = Figure(figsize=(4.4, 4.4), facecolor='white', layout='constrained')
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1))
    _draw_curves(upper, curves)
    _draw_counts(lower, curves)
    return figure


def _draw_curves(ax: Axes, curves: dict[str, Reliability]) -> None:
    ax.plot([0, 1], [0, 1], color='#57606a', linewidth=1, linestyle='--')
    for key, curve in curves.items():
        held = curve.count > 0
        score, present, count = (
            curve.score[held],
            curve.present[held],
            curve.count[held],
        )
        low, high = _wilson(present, count)
        ax.errorbar(
            score,
            present,
            # Rounding may make a length negative at a fraction of 0 or 1.
            yerr=np.maximum([present - low, high - present], 0),
            color=COLOURS[key],
            marker=MARKERS[key],
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
            label=f'{key} (ECE {100 * calibration_error(curve):.2f} %)',
        )
    ax.set(xlim=(0, 1), ylim=(0, 1), xticklabels=[], ylabel='fraction present')
    ax.legend(loc='upper left', frameon=False, fontsize=9)
    ax.grid(alpha=0.25)


def _draw_counts(ax: Axes, curves: dict[str, Reliability]) -> None:
    for key, curve in curves.items():
        # A logarithmic axis has no 0 for bins without an entry.
        ax.stairs(
            np.maximum(curve.count, 0.5), curve.edges, color=COLOURS[key], linewidth=1.2
        )
    ax.set(xlim=(0, 1), yscale='log', xlabel='score', ylabel='entries')
    ax.set_ylim(bottom=0.5)
    ax.grid(alpha=0.25)


def _draw_errors(
    ax: Axes, errors: dict[str, np.ndarray], order: np.ndarray, classes: Sequence[str]
) -> None:
    rows = np.arange(len(order))
    if 'after' in errors:
        ax.hlines(
            rows,
            errors['before'][order],
            errors['after'][order],
            color='#d0d7de',
            linewidth=2,
        )
    for key, values in errors.items():
        ax.plot(
            values[order],
            rows,
            MARKERS[key],
            color=COLOURS[key],
            markersize=4,
            label=key,
        )
    ax.set_yticks(rows)
    for text in ax.set_yticklabels([str(classes[label]) for label in order]):
        text.set(fontsize=8, parse_math=False)
    ax.set_xlim(left=0)
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    ax.grid(axis='x', alpha=0.25)
    ax.set_xlabel('ECE')
    shown = f', the largest {len(order)}' if len(order) < len(classes) else ''
    ax.set_title(f'of each label{shown}', loc='left', fontsize=10)


def _wilson(fraction: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute Wilson's 95 % interval of a fraction."""
    z = 1.959964
    centre = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = np.sqrt(fraction * (1 - fraction) / count + (z / (2 * count)) ** 2)
    spread = z * spread / (1 + z**2 / count)
    return centre - spread, centre + spread
