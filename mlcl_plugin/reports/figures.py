# SPDX-License-Identifier: Apache-2.0
"""Pictures that belong to reports."""

import warnings
from os import PathLike

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..visualization.precision_recall_plot import precision_recall_plot
from ..visualization.reliability_plot import reliability_plot
from .decision_report import DecisionReport
from .evaluation_report import EvaluationReport


def save_figure(figure: Figure, path: str | PathLike) -> None:
    """Write a picture without warnings about characters that fonts lack.

    The tables beside the pictures hold the complete names.

    Args:
        figure (Figure): The picture.
        path (str | PathLike): The file.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        figure.savefig(path)


def to_pixels(figure: Figure) -> np.ndarray:
    """Draw a picture as pixels ``(H, W, 3)`` uint8, RGB."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def reliability_figure(
    report: DecisionReport, dump_name: str, num_images: int
) -> Figure:
    """Draw reliability before and, if the decisions calibrate, after calibration.

    Args:
        report (DecisionReport): What is drawn.
        dump_name (str): The name of the dump, for the title.
        num_images (int): Its number of images.

    Returns:
        Figure: See :func:`reliability_plot`.
    """
    ways = {'before': report.before}
    title = f'Reliability of {dump_name}, {num_images:,} images'
    calibrate = report.decisions.info['calibrate']
    if calibrate != 'none':
        ways['after'] = report.after
        scope = 'each label' if calibrate == 'per-label' else 'all labels'
        title += f'; one temperature for {scope}, cross-fitted'
    return reliability_plot(
        {name: way.curve for name, way in ways.items()},
        {name: way.label_errors for name, way in ways.items()},
        report.decisions.classes,
        title,
    )


def precision_recall_figure(report: EvaluationReport) -> Figure | None:
    """Draw precision against recall of all dumps.

    Args:
        report (EvaluationReport): What is drawn.

    Returns:
        Figure, optional: See :func:`precision_recall_plot`. None if no label has a
        positive.
    """
    if not any(row['support'] for row in report.results[0].labels):
        return None
    return precision_recall_plot(
        {result.name: result.dump for result in report.results},
        {result.name: result.labels for result in report.results},
    )
