# SPDX-License-Identifier: Apache-2.0
"""All that can be computed from score dumps of the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from ..evaluation.decisions import Decisions, score_hint
from ..evaluation.metrics.multi_label_recognition import MultiLabelRecognitionMetric
from ..evaluation.score_dump import ScoreDump
from .confused_pairs import confused_pairs
from .dump_comparison import (
    Comparison,
    Estimate,
    adjust_p_values,
    align_dumps,
    bootstrap_report,
)
from .label_report import label_report, predict_labels

TESTED = ('mAP', 'CF1', 'OF1')
"""Metrics whose differences are shown with a p-value."""

DEFAULT_THR = 0.5
LEVEL = 0.95
"""Level of the intervals."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How dumps are evaluated.

    Args:
        topk (int): Largest number of labels per image in the top-k metrics. Defaults
            to 3.
        max_pairs (int): Largest number of confused pairs. Defaults to 20.
        num_resamples (int): Resamples for intervals, and permutations for tests.
            Defaults to 1000.
        seed (int): Seed of the draws. Defaults to 0.
    """

    topk: int = 3
    max_pairs: int = 20
    num_resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class DumpResult:
    """The evaluation of one dump.

    Attributes:
        name (str): How reports call it.
        dump (ScoreDump): The dump.
        metrics (dict[str, float]): Of :class:`MultiLabelRecognitionMetric`, in percent.
        estimates (dict[str, Estimate]): Metrics with intervals, from 0 to 1.
        labels (list[dict]): See :func:`label_report`.
        label_ap (list[Estimate]): AP of each label with its interval, from 0 to 1.
        pairs (list[dict]): See :func:`confused_pairs`.
        comparison (Comparison, optional): With the first dump; None for the first.
        adjusted_p (dict[str, float]): p-values of ``TESTED``, adjusted by Holm's method
            for all comparisons of a metric; empty for the first dump.
    """

    name: str
    dump: ScoreDump
    metrics: dict[str, float]
    estimates: dict[str, Estimate]
    labels: list[dict]
    label_ap: list[Estimate]
    pairs: list[dict]
    comparison: Comparison | None = None
    adjusted_p: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationReport:
    """The evaluation of dumps of the same images.

    Attributes:
        results (list[DumpResult]): One per dump, at least one.
        options (EvaluationOptions): How they were evaluated.
        paths (list[str]): The files of the dumps.
        thr (float, optional): The threshold of all labels; None with decision files.
        decision_files (list[str]): The decision files, if any.
    """

    results: list[DumpResult]
    options: EvaluationOptions
    paths: list[str]
    thr: float | None
    decision_files: list[str]


def short_names(paths: Sequence[str]) -> list[str]:
    """Make different names for files, as short as possible.

    Args:
        paths (Sequence[str]): The files.

    Returns:
        list[str]: Their names without endings, their names, their paths, or, if even
        these are equal, their paths with numbers.

    Examples:
        >>> short_names(['runs/a.csv', 'runs/b.csv'])
        ['a', 'b']
        >>> short_names(['a/scores.csv', 'b/scores.csv'])
        ['a/scores.csv', 'b/scores.csv']
    """
    for names in (
        [Path(path).stem for path in paths],
        [Path(path).name for path in paths],
        list(paths),
    ):
        if len(set(names)) == len(names):
            return names
    return [f'{path} ({number})' for number, path in enumerate(paths, start=1)]


def load_dumps(
    paths: Sequence[str], classes: Sequence[str] | str | PathLike | None = None
) -> list[ScoreDump]:
    """Load dumps and put their images into the order of the first.

    Args:
        paths (Sequence[str]): The files.
        classes (Sequence[str] | str | PathLike, optional): See :meth:`ScoreDump.load`.
            Defaults to None.

    Returns:
        list[ScoreDump]: One per file.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no score dump, or images, labels or targets differ.
    """
    dumps = [ScoreDump.load(path, classes) for path in paths]
    for index in range(1, len(dumps)):
        try:
            dumps[index] = align_dumps(dumps[0], dumps[index])
        except ValueError as error:
            raise ValueError(
                f'{paths[index]} cannot be compared with {paths[0]}. {error}'
            ) from error
    return dumps


def evaluate_files(
    paths: Sequence[str],
    thr: float = DEFAULT_THR,
    decision_files: Sequence[str] = (),
    classes: Sequence[str] | str | PathLike | None = None,
    options: EvaluationOptions | None = None,
) -> EvaluationReport:
    """Evaluate score dumps of the same images and compare them with the first.

    Args:
        paths (Sequence[str]): The files of the dumps.
        thr (float): The threshold of all labels without decision files. With the
            default of 0.5, scores must be from 0 to 1; other thresholds may be for
            scores of any scale.
        decision_files (Sequence[str]): One file for all dumps, or one for each.
            Defaults to none.
        classes (Sequence[str] | str | PathLike, optional): See :meth:`ScoreDump.load`.
            Defaults to None.
        options (EvaluationOptions, optional): Defaults to None, the defaults.

    Returns:
        EvaluationReport: Metrics, labels, pairs and comparisons.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is wrong, files do not fit each other, or there are
            neither one nor as many decision files as dumps.
    """
    options = options or EvaluationOptions()
    if len(decision_files) not in (0, 1, len(paths)):
        raise ValueError(
            f'Expected one decision file or one for each of the {len(paths)} dumps, '
            f'got {len(decision_files)}.'
        )
    dumps = load_dumps(paths, classes)
    if decision_files:
        decisions = [Decisions.load(path) for path in decision_files]
    else:
        _check_scale(paths, dumps, thr)
        decisions = [Decisions.uniform(dumps[0].classes, thr, any_scale=True)]
    if len(decisions) == 1:
        decisions *= len(dumps)
    return EvaluationReport(
        evaluate_dumps(short_names(paths), dumps, decisions, options),
        options,
        list(paths),
        None if decision_files else thr,
        list(decision_files),
    )


def _check_scale(paths: Sequence[str], dumps: Sequence[ScoreDump], thr: float) -> None:
    """Refuse percent and logits, unless the threshold was chosen for them."""
    if thr != DEFAULT_THR:
        return
    for path, dump in zip(paths, dumps):
        outside = (dump.scores < 0) | (dump.scores > 1)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            value = float(dump.scores[row, column])
            raise ValueError(
                f'{path}: scores must be from 0 to 1 for thr={thr}, got {value:g} for '
                f'{dump.classes[column]!r} of {dump.images[row]}. {score_hint(value)} '
                'Or set thr to a threshold for this scale.'
            )


def evaluate_dumps(
    names: Sequence[str],
    dumps: Sequence[ScoreDump],
    decisions: Sequence[Decisions],
    options: EvaluationOptions,
) -> list[DumpResult]:
    """Evaluate dumps of the same images and compare them with the first.

    Args:
        names (Sequence[str]): Different names of the dumps.
        dumps (Sequence[ScoreDump]): Of the same images in the same order.
        decisions (Sequence[Decisions]): Those of each dump.
        options (EvaluationOptions): How they are evaluated.

    Returns:
        list[DumpResult]: One per dump.

    Raises:
        ValueError: If decisions are for other labels.
    """
    predicted = [predict_labels(*pair) for pair in zip(dumps, decisions)]
    metrics = [
        MultiLabelRecognitionMetric.calculate(
            dump.scores, dump.targets, topk=options.topk, decisions=own
        )
        for dump, own in zip(dumps, decisions)
    ]
    labels = [label_report(*pair) for pair in zip(dumps, decisions)]
    pairs = [
        confused_pairs(dump, mask, options.max_pairs)
        for dump, mask in zip(dumps, predicted)
    ]
    bootstrap = bootstrap_report(
        dumps, predicted, options.num_resamples, LEVEL, options.seed
    )
    adjusted = {
        key: adjust_p_values([c.p_values[key] for c in bootstrap.comparisons])
        for key in TESTED
    }
    return [
        DumpResult(
            names[index],
            dumps[index],
            metrics[index],
            bootstrap.metrics[index],
            labels[index],
            bootstrap.label_ap[index],
            pairs[index],
            bootstrap.comparisons[index - 1] if index > 0 else None,
            {key: adjusted[key][index - 1] for key in TESTED} if index > 0 else {},
        )
        for index in range(len(dumps))
    ]
