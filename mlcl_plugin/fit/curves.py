# SPDX-License-Identifier: Apache-2.0
"""Draw how a training went."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def training_curves(rows: Sequence[dict], path: Path) -> bool:
    """Draw losses and validation mAP of both steps.

    Args:
        rows (Sequence[dict]): See :func:`mlcl_plugin.fit.training.read_curves`.
        path (Path): The picture to write.

    Returns:
        bool: Whether there was anything to draw.
    """
    losses = [(r['part'], r['iter'], r['loss']) for r in rows if 'loss' in r]
    values = [
        (r['part'], r['step'], r['multi-label/mAP'])
        for r in rows
        if 'multi-label/mAP' in r
    ]
    if not losses and not values:
        return False
    figure = Figure(figsize=(9, 3.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for step in dict.fromkeys(row[0] for row in losses):
        own = [row[1:] for row in losses if row[0] == step]
        left.plot(*zip(*own), label=step)
    left.set(xlabel='iteration of the step', ylabel='loss')
    for step in dict.fromkeys(row[0] for row in values):
        own = [row[1:] for row in values if row[0] == step]
        right.plot(*zip(*own), marker='o', label=step)
    right.set(xlabel='epoch of the step', ylabel='val mAP (%), classifier alone')
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=120)
    return True
