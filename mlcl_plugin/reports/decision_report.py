# SPDX-License-Identifier: Apache-2.0
"""What thresholds and temperatures gain, on images that had no part in them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .bootstrap import draw_weights, interval, label_figures
from .calibration import (
    Reliability,
    at_bound,
    expected_calibration_error,
    reliability,
)
from .cross_fitting import DecisionRecipe, cross_fit
from .decisions import Decisions
from .label_report import label_report
from .score_dump import ScoreDump

FIGURES = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')
FEW_POSITIVES = 20
"""Below, the best cut of a label hangs on single images, which is noted."""


@dataclass(frozen=True)
class ReportOptions:
    """How decisions are judged.

    Args:
        thr (float): The threshold that they are compared with. Defaults to 0.5.
        num_folds (int): Folds of cross-fitting. Defaults to 5.
        num_bins (int): Bins of the calibration error. Defaults to 15.
        num_resamples (int): Resamples that intervals are made from. Defaults to 1000.
        level (float): Level of the intervals. Defaults to 0.95.
        seed (int): Seed of folds and resamples. Defaults to 0.
    """

    thr: float = 0.5
    num_folds: int = 5
    num_bins: int = 15
    num_resamples: int = 1000
    level: float = 0.95
    seed: int = 0


class Judgement(NamedTuple):
    """Figures of labels that were predicted in one way.

    Attributes:
        figures (dict[str, tuple]): Value, lower and upper end of each of ``FIGURES``,
            from 0 to 1.
        error (float): Expected calibration error of all labels together.
        label_errors (np.ndarray): ``(L,)``, that of each label.
        label_precision (np.ndarray): ``(L,)``; nan for a label that is not predicted.
        label_recall (np.ndarray): ``(L,)``; nan without a positive.
        label_f1 (np.ndarray): ``(L,)``; nan without a positive.
        curve (Reliability): Of all labels together.
    """

    figures: dict[str, tuple[float, float, float]]
    error: float
    label_errors: np.ndarray
    label_precision: np.ndarray
    label_recall: np.ndarray
    label_f1: np.ndarray
    curve: Reliability


@dataclass(frozen=True)
class DecisionReport:
    """Decisions and what they gain.

    Attributes:
        decisions (Decisions): Made from all images. Their ``info`` holds the figures.
        before (Judgement): Of scores as they are, at the threshold to compare with.
        after (Judgement): Of cross-fitted decisions.
        in_sample (Judgement): Of ``decisions`` on the images they were made from: too
            good.
        gain (dict[str, tuple]): After minus before, with interval, of each of
            ``FIGURES``.
        labels (list[dict]): One a label: ``label``, ``threshold``, ``temperature``,
            ``support``; precision, recall, F1 and calibration error before and after,
            as ``precision_before`` ... ``ece_after``; and ``note``, empty if there is
            nothing to say.
    """

    decisions: Decisions
    before: Judgement
    after: Judgement
    in_sample: Judgement
    gain: dict[str, tuple[float, float, float]]
    labels: list[dict] = field(default_factory=list)


def decision_report(
    dump: ScoreDump, recipe: DecisionRecipe, options: ReportOptions | None = None
) -> DecisionReport:
    """Make decisions from a dump and judge them by cross-fitting.

    Intervals come from resampled images, see :func:`interval`. Predictions are taken as
    given, so that thresholds that came out otherwise are not in the intervals; those of
    the gain are of the same resamples before and after.

    Args:
        dump (ScoreDump): Validation images that the model was not trained on.
        recipe (DecisionRecipe): How decisions are made.
        options (ReportOptions, optional): How they are judged. Defaults to None, the
            defaults.

    Returns:
        DecisionReport: See there.

    Raises:
        ValueError: If scores are outside of [0, 1], a number of the options is not
            positive, there are fewer images than folds, or no label is present in the
            images of some folds.
    """
    options = options or ReportOptions()
    scores, targets = dump.scores, dump.targets
    crossed = cross_fit(
        recipe, scores, targets, dump.classes, options.num_folds, options.seed
    )
    decisions, found = recipe.fit(scores, targets, dump.classes)
    ways = {
        'before': (scores, scores >= np.float32(options.thr)),
        'after': crossed,
        'in_sample': (decisions.calibrate(scores), decisions.predict(scores)),
    }
    resampled = {name: [] for name in ways}
    num_images = len(targets)
    for weights in draw_weights(num_images, options.num_resamples, options.seed):
        for name, (_, predicted) in ways.items():
            resampled[name].append(label_figures(predicted, targets, weights))
    resampled = {
        name: {key: np.concatenate([block[key] for block in own]) for key in FIGURES}
        for name, own in resampled.items()
    }
    everything = np.ones((1, num_images), dtype=np.float32)
    judged, values = {}, {}
    for name, (calibrated, predicted) in ways.items():
        exact = label_figures(predicted, targets, everything)
        values[name] = {key: float(exact[key][0]) for key in FIGURES}
        judged[name] = Judgement(
            {
                key: (
                    values[name][key],
                    *interval(
                        resampled[name][key], values[name][key], options.level, (0, 1)
                    ),
                )
                for key in FIGURES
            },
            expected_calibration_error(calibrated, targets, options.num_bins),
            expected_calibration_error(
                calibrated, targets, options.num_bins, per_label=True
            ),
            *_label_figures(predicted, targets),
            reliability(calibrated, targets, options.num_bins),
        )
    gain = {}
    for key in FIGURES:
        value = values['after'][key] - values['before'][key]
        draws = resampled['after'][key] - resampled['before'][key]
        gain[key] = (value, *interval(draws, value, options.level, (-1, 1)))

    labels = []
    for index, row in enumerate(label_report(dump, decisions)):
        notes = []
        if not found.learned[index]:
            notes.append('no positive or no negative: threshold of all labels')
        elif not found.reached[index]:
            notes.append(f'no cut reaches {recipe.target}')
        own = recipe.per_label or recipe.calibrate == 'per-label'
        if own and 0 < row['support'] < FEW_POSITIVES:
            notes.append(f'fewer than {FEW_POSITIVES} positives: uncertain')
        # nan, which is no temperature, is at no bound
        if at_bound(row['temperature']):
            notes.append('temperature at its bound: the scores do not tell one')
        labels.append(
            dict(
                label=row['label'],
                threshold=row['threshold'],
                temperature=row['temperature'],
                support=row['support'],
                **{
                    f'{key}_{name}': float(values[index])
                    for name in ('before', 'after')
                    for key, values in (
                        ('precision', judged[name].label_precision),
                        ('recall', judged[name].label_recall),
                        ('f1', judged[name].label_f1),
                        ('ece', judged[name].label_errors),
                    )
                },
                note='; '.join(notes),
            )
        )
    info = dict(
        target=str(recipe.target),
        thresholds='per-label' if recipe.per_label else 'global',
        calibrate=recipe.calibrate,
        num_images=num_images,
        num_folds=options.num_folds,
        seed=options.seed,
        compared_with=options.thr,
        level=options.level,
        num_resamples=options.num_resamples,
        num_bins=options.num_bins,
        before=_for_json(judged['before']),
        after_cross_fitted=_for_json(judged['after']),
        gain_cross_fitted={key: _rounded(value) for key, value in gain.items()},
        after_in_sample_too_good=_for_json(judged['in_sample']),
        notes={row['label']: row['note'] for row in labels if row['note']},
    )
    decisions = Decisions(
        decisions.classes, decisions.thresholds, decisions.temperatures, info
    )
    return DecisionReport(decisions, **judged, gain=gain, labels=labels)


def _label_figures(predicted: np.ndarray, targets: np.ndarray) -> Iterator[np.ndarray]:
    """Precision, recall and F1 of each label, (L,) each."""
    truth = targets == 1
    num_correct = (predicted & truth).sum(axis=0)
    num_true = truth.sum(axis=0)
    num_predicted = (predicted & (targets != -1)).sum(axis=0)
    for numerator, denominator, defined in (
        (num_correct, num_predicted, num_predicted > 0),
        (num_correct, num_true, num_true > 0),
        (2 * num_correct, num_true + num_predicted, num_true > 0),
    ):
        yield np.where(defined, numerator / np.maximum(denominator, 1), math.nan)


def _rounded(values: tuple[float, ...]) -> list[float]:
    """In percent: value, lower and upper end."""
    return [round(100 * value, 4) for value in values]


def _for_json(judgement: Judgement) -> dict:
    figures = {key: _rounded(value) for key, value in judgement.figures.items()}
    mean = np.nanmean(judgement.label_errors)
    return dict(
        figures,
        ECE=round(100 * judgement.error, 4),
        mean_label_ECE=round(100 * float(mean), 4),
    )
