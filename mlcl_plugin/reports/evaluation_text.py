# SPDX-License-Identifier: Apache-2.0
"""The evaluation of score dumps as tables and text."""

import math
from collections.abc import Sequence

from ..plain_text import printable
from ..text_table import literal, text_table
from .evaluation_report import TESTED, DumpResult, EvaluationReport
from .formats import percent, with_interval


def metric_table(results: Sequence[DumpResult]) -> str:
    """Write all metrics of each dump, with intervals where there are any.

    Args:
        results (Sequence[DumpResult]): At least one.

    Returns:
        str: Markdown.
    """
    rows = []
    for key in results[0].metrics:
        row: list[str | None] = [key]
        for result in results:
            if key == 'num_classes_evaluated':
                row.append(str(result.metrics[key]))
            elif key in result.estimates:
                row.append(with_interval(result.estimates[key]))
            else:
                row.append(f'{result.metrics[key]:.2f}')
        rows.append(row)
    return text_table(['%', *(literal(result.name) for result in results)], rows)


def comparison_table(results: Sequence[DumpResult]) -> str:
    """Write differences to the first dump, with p-values.

    Args:
        results (Sequence[DumpResult]): The first one and others.

    Returns:
        str: Markdown.
    """
    rows = []
    for result in results:
        if result.comparison is None:
            continue
        for key in TESTED:
            p = result.adjusted_p[key]
            rows.append(
                [
                    literal(result.name),
                    key,
                    with_interval(result.comparison.differences[key], '+'),
                    '-' if math.isnan(p) else f'{p:.4f}',
                ]
            )
    header = ['dump', 'metric', f'minus {literal(results[0].name)}', 'p']
    return text_table(header, rows)


def label_table(result: DumpResult, max_labels: int | None = None) -> str:
    """Write the metrics of each label.

    Args:
        result (DumpResult): The dump.
        max_labels (int, optional): With more labels, only so many with the lowest AP
            are shown. Defaults to None, all.

    Returns:
        str: Markdown.
    """
    rows = list(zip(result.labels, result.label_ap))
    calibrated = any(not math.isnan(row['temperature']) for row, _ in rows)
    unknown = any(row['unknown'] for row, _ in rows)
    if max_labels is not None and len(rows) > max_labels:
        # Labels without AP come last.
        rows.sort(key=lambda pair: (math.isnan(pair[0]['AP']), pair[0]['AP']))
        rows = rows[:max_labels]
    header = ['label', 'AP', 'precision', 'recall', 'F1', 'support', 'predicted']
    header += ['unknown'] * unknown + ['threshold'] + ['temperature'] * calibrated
    table = []
    for row, estimate in rows:
        cells = [literal(row['label']), with_interval(estimate)]
        cells += [percent(row[key]) for key in ('precision', 'recall', 'F1')]
        cells += [row['support'], row['predicted']]
        cells += [row['unknown']] * unknown + [f'{row["threshold"]:.4f}']
        cells += [f'{row["temperature"]:.3f}'] * calibrated
        table.append(cells)
    return text_table(header, table)


def pair_table(pairs: Sequence[dict]) -> str:
    """Write confused pairs of labels.

    Args:
        pairs (Sequence[dict]): See :func:`confused_pairs`.

    Returns:
        str: Markdown.
    """
    rows = [
        [
            literal(pair['present']),
            literal(pair['predicted']),
            pair['images'],
            f'{pair["expected"]:.1f}',
            f'{pair["lift"]:.1f}',
            pair['missed'],
            f'{pair["p_adjusted"]:.1e}',
        ]
        for pair in pairs
    ]
    header = ['present', 'falsely predicted', 'images', 'expected', 'lift']
    return text_table([*header, 'first one missed', 'p'], rows)


def evaluation_text(report: EvaluationReport, max_labels: int | None = None) -> str:
    """Write a report with all tables.

    Args:
        report (EvaluationReport): The report.
        max_labels (int, optional): See :func:`label_table`. Defaults to None, all.

    Returns:
        str: Markdown.
    """
    results = report.results
    first = results[0].dump
    if report.thr is None:
        rule = 'decisions of ' + ', '.join(map(printable, report.decision_files))
    else:
        rule = f'threshold {report.thr:g}'
    parts = [
        f'# {", ".join(literal(result.name) for result in results)}',
        f'{len(first.images):,} images, {len(first.classes):,} labels; {rule}.',
        metric_table(results),
        f'In brackets: 95 % basic bootstrap intervals, {report.options.num_resamples:,}'
        ' resamples of the images; thresholds are taken as given.',
    ]
    if len(results) > 1:
        parts += [
            '## Comparison',
            comparison_table(results),
            'Intervals of differences use the same resamples for both dumps. p: '
            'two-sided permutation test that swaps the scores of the two models image '
            "by image, adjusted for all dumps by Holm's method. It tells whether these "
            'checkpoints differ on images like these. Whether the methods that they '
            'were trained by differ takes several seeds.',
        ]
    for result in results:
        num_labels = len(first.classes)
        shown = 'labels'
        if max_labels is not None and num_labels > max_labels:
            shown = f'the worst {max_labels} labels'
        name = literal(result.name)
        parts += [f'## {name}: {shown}', label_table(result, max_labels)]
        parts.append(f'## {name}: confused pairs')
        if result.pairs:
            parts += [
                pair_table(result.pairs),
                'images: the first label is present, the second one is absent and was '
                'predicted. expected: how many such images there would be if errors '
                'about the second label were independent of the first. Sorted by the '
                'difference of both. p: one-sided exact test, false discovery rate of '
                '5 %.',
            ]
        else:
            parts.append('No pair is more frequent than by chance.')
    return '\n\n'.join(parts) + '\n'
