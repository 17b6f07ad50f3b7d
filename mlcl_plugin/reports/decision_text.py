# SPDX-License-Identifier: Apache-2.0
"""A report on decisions as text."""

from ..text_table import literal, text_table
from .decision_report import DecisionReport
from .formats import percent, with_interval


def overview_table(report: DecisionReport, in_sample: bool = False) -> str:
    """Write the metrics over all labels as a table.

    Args:
        report (DecisionReport): The report.
        in_sample (bool): Show the decisions on the images they were made from, too.
            Defaults to False.

    Returns:
        str: Markdown.
    """
    thr = report.decisions.info['compared_with']
    ways = {f'before ({thr:g})': report.before, 'after': report.after}
    if in_sample:
        ways['in-sample (too good)'] = report.in_sample
    rows = []
    for key, gain in report.gain.items():
        cells = [with_interval(way.rates[key]) for way in ways.values()]
        cells.insert(2, with_interval(gain, sign='+'))
        rows.append([key, *cells])
    for name, errors in (
        ('ECE', [way.error for way in ways.values()]),
        ('mean ECE of labels', [way.mean_label_error for way in ways.values()]),
    ):
        cells = [percent(error) for error in errors]
        cells.insert(2, f'{100 * (errors[1] - errors[0]):+.2f}')
        rows.append([name, *cells])
    header = list(ways)
    header.insert(2, 'gain')
    return text_table(['%', *header], rows)


def label_table(report: DecisionReport) -> str:
    """Write threshold, temperature and metrics of each label as a table.

    Args:
        report (DecisionReport): The report.

    Returns:
        str: Markdown.
    """
    calibrated = report.decisions.temperatures is not None
    shown = [
        f'{key}_{when}'
        for key in ('precision', 'recall', 'f1')
        for when in ('before', 'after')
    ]
    shown += ['ece_before'] + ['ece_after'] * calibrated
    noted = any(row['note'] for row in report.labels)
    header = ['label', 'images', 'threshold'] + ['temperature'] * calibrated
    header += [key.replace('_', ' ') for key in shown] + ['note'] * noted
    rows = []
    for row in report.labels:
        cells = [literal(row['label']), row['support'], f'{row["threshold"]:.4f}']
        cells += [f'{row["temperature"]:.3f}'] * calibrated
        cells += [percent(row[key]) for key in shown] + [row['note']] * noted
        rows.append(cells)
    return text_table(header, rows)


def verdict(report: DecisionReport) -> str:
    """Say whether CF1 and OF1 gain on images that the thresholds were not made from.

    Args:
        report (DecisionReport): The report.

    Returns:
        str: Such as ``'CF1 is higher, OF1 is not shown to differ'``.
    """
    words = []
    for key in ('CF1', 'OF1'):
        _, low, high = report.gain[key]
        kind = 'higher' if low > 0 else 'lower' if high < 0 else 'not shown to differ'
        words.append(f'{key} is {kind}')
    return ', '.join(words)


def decision_text(report: DecisionReport, in_sample: bool = False) -> str:
    """Write a report with its tables.

    Args:
        report (DecisionReport): The report.
        in_sample (bool): As in :func:`overview_table`. Defaults to False.

    Returns:
        str: Without a line break at its end.
    """
    info = report.decisions.info
    per_label = info['thresholds'] == 'per-label'
    scope = 'a threshold for each label' if per_label else 'one threshold'
    num_labels = len(report.decisions.classes)
    num_folds = info['num_folds']
    return (
        f'{info["num_images"]:,} images, {num_labels:,} labels; {scope}, target '
        f'{info["target"]}, calibration: {info["calibrate"]}\n\n{label_table(report)}'
        f'\n\n{overview_table(report, in_sample)}\n\n'
        f'"after" is cross-fitted: each image is judged by what was found on the other '
        f'{num_folds - 1} of {num_folds} folds.\nThresholds and temperatures are '
        'those of all images. In brackets: 95 % bootstrap intervals over images.\n'
        f'On images that had no part in them, {verdict(report)}.'
    )
