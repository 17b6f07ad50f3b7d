# SPDX-License-Identifier: Apache-2.0
"""The report of a fit, and the table that it prints."""

import math
from collections.abc import Sequence

from ..evaluation.decisions import Decisions
from ..reports.decision_report import DecisionReport
from ..reports.formats import percent, with_interval
from ..text_table import literal, text_table
from .evaluate import LINEAR, MODEL, NEAREST, PartResult

TOO_GOOD = (
    'CF1 and OF1 of the validation images are too good: the thresholds were found on '
    'them.'
)
PRINTED_LABELS = 20
"""Labels of the printed table; the report has all."""


def label_table(part: PartResult, most: int | None = None) -> str:
    """Write the labels, with the AP of logistic regression beside the model's.

    Args:
        part (PartResult): The evaluation.
        most (int, optional): The largest number of labels; those with the lowest AP.

    Returns:
        str: Markdown.
    """
    own, other = part.of(MODEL), part.of(LINEAR)
    rows = list(zip(own.labels, other.labels))
    if most is not None and len(rows) > most:
        rows.sort(key=lambda pair: (math.isnan(pair[0]['AP']), pair[0]['AP']))
        rows = rows[:most]
    header = ['label', 'images', 'AP', 'baseline', 'precision', 'recall', 'threshold']
    cells = [
        [
            literal(row['label']),
            row['support'],
            percent(row['AP']),
            percent(base['AP']),
            percent(row['precision']),
            percent(row['recall']),
            f'{row["threshold"]:.3f}',
        ]
        for row, base in rows
    ]
    return text_table(header, cells)


def overview_cells(parts: Sequence[PartResult]) -> list[list[str | None]]:
    """The cells of :func:`overview`, its header first."""
    rows: list[list[str | None]] = [
        ['%', MODEL, LINEAR, NEAREST, 'model minus regression']
    ]
    for part in parts:
        for key in ('mAP', 'CF1', 'OF1'):
            own = part.of(MODEL)
            cells: list[str | None] = [f'{part.name} {key}']
            cells += [
                with_interval(part.of(name).estimates[key])
                for name in (MODEL, LINEAR, NEAREST)
            ]
            if own.comparison is not None:
                cells.append(with_interval(own.comparison.differences[key], '+'))
            rows.append(cells)
    return rows


def overview(parts: Sequence[PartResult]) -> str:
    """Write mAP, CF1 and OF1 of the model and of the baseline.

    Args:
        parts (Sequence[PartResult]): The evaluations.

    Returns:
        str: Markdown.
    """
    header, *rows = overview_cells(parts)
    return text_table([str(cell) for cell in header], rows)


def verdict(part: PartResult) -> str:
    """Say whether the model is better than logistic regression."""
    comparison = part.of(MODEL).comparison
    if comparison is None:
        return ''
    value, low, high = comparison.differences['mAP']
    if math.isnan(value):
        return f'{part.name}: no label is present, so that mAP is not defined'
    text = (
        f'{part.name} mAP: {100 * value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})'
    )
    if low > 0:
        return f'{text} against logistic regression: better'
    if high < 0:
        return f'{text} against logistic regression: worse'
    return f'{text} against logistic regression: a difference is not shown'


def foretold(report: DecisionReport | None, parts: Sequence[PartResult]) -> list[str]:
    """Compare CF1 on the test images with what cross-fitting foretold."""
    if report is None:
        return []
    value, low, high = report.after.rates['CF1']
    lines = [
        f'CF1 at these thresholds on new images: {100 * value:.2f} '
        f'({100 * low:.2f} to {100 * high:.2f}), cross-fitted on the validation images.'
    ]
    for part in parts:
        if part.name == 'test':
            got = part.of(MODEL).estimates['CF1'].value
            inside = 'within' if low <= got <= high else 'outside of'
            lines.append(f'On the test images it is {100 * got:.2f}, {inside} it.')
    return lines


def report_json(
    parts: Sequence[PartResult], report: DecisionReport | None, notes: Sequence[str]
) -> dict:
    """What is known beside the model's own scores, for ``mlcl report``.

    Args:
        parts (Sequence[PartResult]): The evaluations.
        report (DecisionReport, optional): How good the thresholds are.
        notes (Sequence[str]): What cannot be known.

    Returns:
        dict: ``table``, rows of cells with their header, and ``notes``.
    """
    texts = [f'{text}.' for part in parts if (text := verdict(part))]
    texts += foretold(report, parts)
    return dict(
        table=[[cell or '-' for cell in row] for row in overview_cells(parts)],
        notes=texts + [f'{note}.' for note in notes],
    )


def report_text(
    title: str,
    facts: Sequence[tuple[str, str]],
    parts: Sequence[PartResult],
    decisions: Decisions,
    report: DecisionReport | None,
    notes: Sequence[str],
    pictures: Sequence[str],
) -> str:
    """Write the report.

    Args:
        title (str): Its title.
        facts (Sequence[tuple[str, str]]): Names and texts of the first table.
        parts (Sequence[PartResult]): The evaluations.
        decisions (Decisions): The thresholds.
        report (DecisionReport, optional): How good the thresholds are.
        notes (Sequence[str]): What cannot be known.
        pictures (Sequence[str]): Paths of pictures, relative to the report.

    Returns:
        str: Markdown.
    """
    text = [
        f'# {literal(title)}',
        text_table(['', ''], [[name, literal(fact)] for name, fact in facts]),
    ]
    text += ['## How good it is', overview(parts)]
    text += [' '.join(f'{verdict(part)}.' for part in parts)]
    text += [
        'In brackets: 95 % bootstrap intervals over images. Differences use the same '
        'resamples for both. The baseline is trained on the same images, with pooled '
        'features of the frozen backbone; its C is chosen by cross-validation.'
    ]
    if any(part.name == 'val' for part in parts):
        text.append(TOO_GOOD)
    text += foretold(report, parts)
    if notes:
        text += [
            '## What cannot be known',
            '\n'.join(f'- {literal(note)}.' for note in notes),
        ]
    for part in parts:
        text += [f'## Labels, {part.name}', label_table(part)]
    if decisions.temperatures is not None:
        text.append(
            f'Temperature of the calibrated scores: {decisions.temperatures[0]:.3f}.'
        )
    text += [f'![]({picture})' for picture in pictures]
    return '\n\n'.join(part for part in text if part) + '\n'
