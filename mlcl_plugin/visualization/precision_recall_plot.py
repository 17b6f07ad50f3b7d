# SPDX-License-Identifier: Apache-2.0
"""Precision-recall curves of all labels, as a sheet of small plots."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..evaluation.score_dump import ScoreDump
from ..evaluation.thresholds import make_cuts

COLOURS = ('#0969da', '#bc6c00', '#1a7f37', '#8250df', '#cf222e', '#57606a')
MAX_LABELS = 100
# In inches.
PANEL, MARGIN = 1.35, 0.45


def precision_recall_plot(
    dumps: dict[str, ScoreDump],
    reports: dict[str, list[dict]],
    title: str = 'Precision against recall',
) -> Figure:
    """Draw a curve for each label of each dump, and where its threshold cuts.

    One panel per label, by rising AP of the first dump, so that badly recognised labels
    come first; with many labels the first 100. Every point of a curve is a cut between
    two scores; the dot is the threshold. Labels without a positive are left out.

    Args:
        dumps (dict[str, ScoreDump]): At least one, by the name that is shown, with the
            same labels.
        reports (dict[str, list[dict]]): What :func:`label_report` gives for each.
        title (str): The line above. Defaults to 'Precision against recall'.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no dump, there are more than six, or no label has a
            positive.
    """
    if not 1 <= len(dumps) <= len(COLOURS):
        raise ValueError(f'Expected 1 to {len(COLOURS)} dumps, got {len(dumps)}.')
    rows = next(iter(reports.values()))
    order = [label for label, row in enumerate(rows) if row['support'] > 0]
    if not order:
        raise ValueError('No label has an image with it, so there is no curve.')
    order.sort(key=lambda label: rows[label]['AP'])
    shown = order[:MAX_LABELS]
    columns = min(len(shown), 5 if len(shown) <= 30 else 10)
    # Wide enough for the lines above.
    columns = max(columns, 4)
    lines = math.ceil(len(shown) / columns)
    width = 2 * MARGIN + columns * PANEL
    head = 0.5 if len(dumps) == 1 else 0.7
    height = head + MARGIN + lines * (PANEL + 0.25)
    figure = Figure(figsize=(width, height), dpi=110, facecolor='white')
    for number, label in enumerate(shown):
        line, column = divmod(number, columns)
        ax = figure.add_axes(
            (
                (MARGIN + column * PANEL + 0.05) / width,
                1 - (head + (line + 1) * (PANEL + 0.25) - 0.15) / height,
                (PANEL - 0.15) / width,
                (PANEL - 0.15) / height,
            )
        )
        for colour, name in zip(COLOURS, dumps):
            _draw_curve(ax, dumps[name], reports[name][label], label, colour)
        _draw_frame(ax)
        if column > 0:
            ax.set_yticklabels([])
        if number + columns < len(shown):
            ax.set_xticklabels([])
        else:
            ax.set_xticklabels(['0', '0.5', '1'])
        _write_head(ax, rows[label])
    _draw_legend(figure, list(dumps), title, len(shown), len(rows))
    return figure


def precision_recall_panel(dump: ScoreDump, row: dict, label: int) -> Figure:
    """Draw the curve of one label as a picture of its own, without its name.

    Args:
        dump (ScoreDump): The scores.
        row (dict): What :func:`label_report` gives for the label.
        label (int): Its index.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.
    """
    figure = Figure(figsize=(PANEL + 0.3, PANEL + 0.2), facecolor='white')
    ax = figure.add_axes((0.17, 0.15, 0.8, 0.8))
    _draw_curve(ax, dump, row, label, COLOURS[0])
    _draw_frame(ax)
    ax.set_xticklabels(['0', '0.5', '1'])
    ax.set_yticklabels(['0', '0.5', '1'])
    return figure


def _draw_curve(ax: Axes, dump: ScoreDump, row: dict, label: int, colour: str) -> None:
    cuts = make_cuts(dump.scores[:, label], dump.targets[:, label])
    recall, precision = cuts.recall, cuts.precision
    # A curve starts at the highest score.
    ax.step(
        np.append(0, recall),
        np.append(precision[0], precision),
        where='pre',
        color=colour,
        linewidth=1.1,
    )
    if row['predicted']:
        ax.plot(row['recall'], row['precision'], 'o', color=colour, markersize=4)


def _draw_frame(ax: Axes) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1])
    ax.set_yticks([0, 0.5, 1])
    ax.tick_params(labelsize=7, length=2)
    ax.grid(alpha=0.25)


def _write_head(ax: Axes, row: dict) -> None:
    # Short enough for a panel. matplotlib would read $ in a name as a formula.
    name = row['label'] if len(row['label']) <= 15 else row['label'][:14] + '…'
    ax.set_title(
        f'{name} {100 * row["AP"]:.0f}', fontsize=8, loc='left', pad=2, parse_math=False
    )


def _draw_legend(
    figure: Figure, names: Sequence[str], title: str, shown: int, total: int
) -> None:
    width, height = figure.get_size_inches()
    x = MARGIN / width
    figure.text(
        x,
        1 - 0.12 / height,
        title,
        va='top',
        fontsize=11,
        weight='bold',
        parse_math=False,
    )
    first = f' of {next(iter(names))}' if len(names) > 1 else ''
    which = f'{shown} of {total} labels' if shown < total else f'{total} labels'
    figure.text(
        x,
        1 - 0.36 / height,
        f'{which}, worst first; recall to the right, precision up. '
        f'Number: AP{first}, dot: threshold.',
        va='top',
        fontsize=8,
        parse_math=False,
    )
    if len(names) > 1:
        handles = [Line2D([], [], color=c, label=n) for c, n in zip(COLOURS, names)]
        legend = figure.legend(
            handles=handles,
            loc='upper left',
            bbox_to_anchor=(x, 1 - 0.5 / height),
            ncols=len(handles),
            frameon=False,
            fontsize=8,
            borderaxespad=0,
            borderpad=0,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
