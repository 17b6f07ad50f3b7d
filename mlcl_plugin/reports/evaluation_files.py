# SPDX-License-Identifier: Apache-2.0
"""The evaluation of score dumps as files: text, JSON, tables, a picture."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..plain_text import neutral
from .evaluation_report import LEVEL, EvaluationReport
from .evaluation_text import evaluation_text
from .figures import precision_recall_figure, save_figure

FRACTIONS = ('AP', 'precision', 'recall', 'F1')
"""Columns of a label report that files hold in percent."""


def evaluation_json(report: EvaluationReport) -> str:
    """Write a report in full as JSON, metrics in percent.

    Args:
        report (EvaluationReport): The report.

    Returns:
        str: JSON; values that are undefined are null.
    """
    first = report.results[0].dump
    dumps = []
    for result, path in zip(report.results, report.paths):
        content: dict[str, Any] = dict(
            name=result.name,
            path=path,
            metrics={key: _finite(value) for key, value in result.metrics.items()},
            intervals={
                key: _in_percent(estimate)[1:]
                for key, estimate in result.estimates.items()
            },
            labels=[_label_row(row) for row in result.labels],
            confused_pairs=result.pairs,
        )
        if result.comparison is not None:
            differences = {
                key: dict(
                    zip(('value', 'low', 'high'), _in_percent(estimate)),
                    p=_finite(result.comparison.p_values[key]),
                )
                for key, estimate in result.comparison.differences.items()
            }
            for key, value in result.adjusted_p.items():
                differences[key]['p_holm'] = _finite(value)
            content['minus_first'] = differences
        dumps.append(content)
    content = dict(
        num_images=len(first.images),
        num_labels=len(first.classes),
        thr=report.thr,
        decisions=report.decision_files or None,
        level=LEVEL,
        num_resamples=report.options.num_resamples,
        seed=report.options.seed,
        dumps=dumps,
    )
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def label_rows(report: EvaluationReport) -> list[dict]:
    """Make the rows of ``labels.csv``, one per label of each dump, in percent."""
    rows = []
    for result in report.results:
        for number, label in enumerate(result.labels):
            row = dict(dump=result.name, **_label_row(label))
            row['AP_low'], row['AP_high'] = _in_percent(result.label_ap[number])[1:]
            if result.comparison is not None:
                difference = _in_percent(result.comparison.label_differences[number])
                for key, value in zip(('', '_low', '_high'), difference):
                    row[f'AP_minus_first{key}'] = value
            rows.append(row)
    return rows


def write_evaluation(
    report: EvaluationReport, folder: Path, neutralise: bool = False
) -> list[str]:
    """Write all files of a report.

    Args:
        report (EvaluationReport): The report.
        folder (Path): The folder, made if it is missing.
        neutralise (bool): Whether names in CSV files that a spreadsheet would take for
            formulas get an apostrophe, see :func:`neutral`. Defaults to False.

    Returns:
        list[str]: The names of the files. Without any positive there is no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'report.md').write_text(evaluation_text(report), encoding='utf-8')
    (folder / 'report.json').write_text(evaluation_json(report), encoding='utf-8')
    _write_csv(folder / 'labels.csv', label_rows(report), neutralise)
    pairs = [
        dict(dump=result.name, **pair)
        for result in report.results
        for pair in result.pairs
    ]
    _write_csv(folder / 'confused_pairs.csv', pairs, neutralise)
    written = ['report.md', 'report.json', 'labels.csv', 'confused_pairs.csv']
    figure = precision_recall_figure(report)
    if figure is not None:
        save_figure(figure, folder / 'precision_recall.png')
        written.append('precision_recall.png')
    return written


def _finite(value: Any) -> Any:
    """Replace nan, which JSON cannot hold, by None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _label_row(row: dict) -> dict:
    """Convert a row of :func:`label_report` to percent."""
    return {
        key: _finite(100 * value if key in FRACTIONS else value)
        for key, value in row.items()
    }


def _in_percent(estimate: Sequence[float]) -> list[float | None]:
    return [_finite(100 * value) for value in estimate]


def _write_csv(path: Path, rows: list[dict], neutralise: bool) -> None:
    """Write one row per dict; None becomes an empty cell."""
    if neutralise:
        rows = [{key: neutral(value) for key, value in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, names, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
