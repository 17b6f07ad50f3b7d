# SPDX-License-Identifier: Apache-2.0
"""How a training went: losses and validation over epochs, and where a step ends."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, GREY = '#0969da', '#57606a'
TITLES = {
    'loss': 'Loss',
    'loss_cls': 'Classification loss',
    'loss_contrastive': 'Contrastive loss',
}
"""Names of losses in a log, and how panels call them; others keep their name."""
MAX_PANELS = 6
LEAST_SPREAD = 2.0
"""Points of mAP that a panel shows at least."""
# In inches.
WIDTH, HEIGHT = 4.6, 2.3
PANEL = (3.8, 2.2)


@dataclass
class Panel:
    """A curve over the epochs of all steps.

    Attributes:
        title (str): What is drawn.
        curves (dict[str, list[tuple]]): Points of each step by its name: epochs since
            the start of the training, and values.
        marked (bool): Whether each point is a measurement of its own, as a validation
            is.
    """

    title: str
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    marked: bool = False

    def describe(self) -> str:
        """Say in words where the curve starts and ends, for who cannot see it."""
        parts = [
            f'in {name or "the training"} from {points[0][1]:.4g} to '
            f'{points[-1][1]:.4g}'
            for name, points in self.curves.items()
        ]
        return f'{self.title}: {", ".join(parts)}.'


@dataclass(frozen=True)
class Training:
    """What curves are drawn of.

    Attributes:
        panels (list[Panel]): One for each loss, then one for each mAP.
        ends (dict[str, float]): The last epoch of each step, counted from the start of
            the training.
    """

    panels: list[Panel]
    ends: dict[str, float]


def read_training(rows: Sequence[Mapping]) -> Training:
    """Sort what a training has logged into curves.

    Args:
        rows (Sequence[Mapping]): See
            :func:`~mlcl_plugin.reports.training_log.read_scalars`. Values that are not
            finite numbers are left out.

    Returns:
        Training: Without panels if there is nothing to draw.
    """
    losses: dict[str, Panel] = {}
    values: dict[str, Panel] = {}
    ends: dict[str, float] = {}
    start = 0.0
    for name in dict.fromkeys(row.get('part', '') for row in rows):
        own = [row for row in rows if row.get('part', '') == name]
        length = _iterations_per_epoch(own)
        last = start
        for row in own:
            if 'iter' in row:
                place = start + row['iter'] / length
                found = _losses(row)
                panels = losses
            else:
                place = start + row.get('step', 0)
                found = {k: v for k, v in row.items() if k.endswith('/mAP')}
                panels = values
            last = max(last, place)
            for key, value in found.items():
                if not _is_number(value):
                    continue
                title = TITLES.get(key, f'Validation {key}')
                if panels is losses:
                    title = TITLES.get(key, key)
                elif key == 'multi-label/mAP':
                    title = 'Validation mAP (%)'
                panel = panels.setdefault(key, Panel(title, marked=panels is values))
                panel.curves.setdefault(name, []).append((place, value))
        # A step ends with its last epoch, which the last row may not quite reach.
        start = ends[name] = float(math.ceil(last - 1e-6))
    chosen = [*losses.values(), *values.values()][:MAX_PANELS]
    return Training(chosen, ends)


def _losses(row: Mapping) -> dict[str, float]:
    """The parts of a loss, or the loss itself if it has none."""
    parts = {k: v for k, v in row.items() if k.startswith('loss') and k != 'loss'}
    return parts or {k: v for k, v in row.items() if k == 'loss'}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _iterations_per_epoch(rows: Iterable[Mapping]) -> float:
    """The least number that agrees with the epoch and the iteration of all rows."""
    found = [
        row['iter'] / row['epoch']
        for row in rows
        if 'iter' in row and _is_number(row.get('epoch')) and row['epoch'] > 0
    ]
    return max(found, default=1.0) or 1.0


def training_figure(training: Training, title: str | None = None) -> Figure:
    """Draw all curves below each other.

    Args:
        training (Training): See :func:`read_training`; with a panel or more.
        title (str, optional): A line above. Defaults to None.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no panel.
    """
    if not training.panels:
        raise ValueError('The training has logged neither a loss nor a validation.')
    number = len(training.panels)
    figure = Figure(
        figsize=(WIDTH, HEIGHT * number + (0.3 if title else 0)),
        dpi=130,
        facecolor='white',
        layout='constrained',
    )
    if title:
        figure.suptitle(title, fontsize=11, weight='bold', parse_math=False)
    axes = figure.subplots(number, 1, squeeze=False, sharex=True)[:, 0]
    for ax, panel in zip(axes, training.panels):
        draw_panel(ax, panel, training.ends)
    for ax in axes[:-1]:
        ax.set_xlabel('')
    return figure


def panel_figure(panel: Panel, ends: Mapping[str, float]) -> Figure:
    """Draw one curve as a picture of its own."""
    figure = Figure(figsize=PANEL, facecolor='white', layout='constrained')
    draw_panel(figure.subplots(), panel, ends)
    return figure


def draw_panel(ax: Axes, panel: Panel, ends: Mapping[str, float]) -> None:
    """Draw one curve, with a line where a step ends and the next one begins."""
    for points in panel.curves.values():
        style = 'o-' if panel.marked or len(points) == 1 else '-'
        ax.plot(*zip(*points), style, color=BLUE, markersize=3.5, linewidth=1.4)
    ax.set_title(panel.title, loc='left', fontsize=10, pad=16, parse_math=False)
    ax.set_xlabel('epoch', fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.25)
    ax.spines[['top', 'right']].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.marked:
        # Differences within chance should not fill the panel.
        low, high = ax.get_ylim()
        spread = max(0.0, LEAST_SPREAD - (high - low)) / 2
        ax.set_ylim(low - spread, high + spread)
    total = max(ends.values(), default=1.0) or 1.0
    ax.set_xlim(0, total * 1.01)
    start = 0.0
    for number, (name, end) in enumerate(ends.items()):
        if end < total:
            ax.axvline(end, color=GREY, linewidth=1, linestyle='--')
        if len(ends) > 1:
            # On two heights, since a step may be too short for its name.
            ax.annotate(
                name,
                ((start + end) / 2, 1),
                xycoords=ax.get_xaxis_transform(),
                xytext=(0, 2),
                textcoords='offset points',
                ha='right' if number and end == total else 'center',
                fontsize=8,
                color=GREY,
                parse_math=False,
                annotation_clip=False,
            )
        start = end
