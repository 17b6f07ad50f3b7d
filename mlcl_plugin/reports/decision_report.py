# SPDX-License-Identifier: Apache-2.0
"""How good thresholds and temperatures are on images that they were not made from."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..evaluation.bootstrap import draw_weights, interval
from ..evaluation.calibration import (
    Reliability,
    at_bound,
    calibration_error,
    reliability,
)
from ..evaluation.cross_fitting import DecisionRecipe, cross_fit
from ..evaluation.decisions import Decisions
from ..evaluation.functional.label_rates import (
    RATES,
    class_rates,
    count_labels,
    weighted_rates,
)
from ..evaluation.score_dump import ScoreDump
from ..evaluation.thresholds import Thresholds
from .label_report import label_report

FEW_POSITIVES = 20
"""With fewer, the best cut of a label depends on single images, which is noted."""


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
    """Metrics of labels that were predicted in one way.

    Attributes:
        rates (dict[str, tuple]): Value, lower and upper end of each of ``RATES``, from
            0 to 1.
        error (float): Expected calibration error of all labels together.
        label_errors (np.ndarray): ``(L,)``, that of each label.
        label_precision (np.ndarray): ``(L,)``; nan for a label that is not predicted.
        label_recall (np.ndarray): ``(L,)``; nan without a positive.
        label_f1 (np.ndarray): ``(L,)``; nan without a positive.
        curve (Reliability): Of all labels together.
    """

    rates: dict[str, tuple[float, float, float]]
    error: float
    label_errors: np.ndarray
    label_precision: np.ndarray
    label_recall: np.ndarray
    label_f1: np.ndarray
    curve: Reliability

    @property
    def mean_label_error(self) -> float:
        """Mean of the labels' errors, without labels that have no known entry."""
        return float(np.nanmean(self.label_errors))


@dataclass(frozen=True)
class DecisionReport:
    """Decisions and what they gain.

    Attributes:
        decisions (Decisions): Made from all images. Their ``info`` holds the metrics.
        before (Judgement): Of scores as they are, at the threshold to compare with.
        after (Judgement): Of cross-fitted decisions.
        in_sample (Judgement): Of ``decisions`` on the images they were made from: too
            good.
        gain (dict[str, tuple]): After minus before, with interval, of each of
            ``RATES``.
        labels (list[dict]): One per label: ``label``, ``threshold``, ``temperature``,
            ``support``; precision, recall, F1 and calibration error before and after,
            as ``precision_before`` ... ``ece_after``; and ``note``, empty if there is
            nothing to note.
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
    given: the intervals leave out that other images would give other thresholds. Those
    of the gain use the same resamples before and after.

    Args:
        dump (ScoreDump): Validation images that the model was not trained on.
        recipe (DecisionRecipe): How decisions are made.
        options (ReportOptions, optional): How they are judged. Defaults to None, the
            defaults.

    Returns:
        DecisionReport: The decisions and their metrics.

    Raises:
        ValueError: If a score is not from 0 to 1, a number of the options is not
            positive, there are fewer images than folds, or no label is present in the
            images of some folds.
    """
    options = options or ReportOptions()
    scores, targets = dump.scores, dump.targets
    crossed = cross_fit(
        recipe, scores, targets, dump.classes, options.num_folds, options.seed
    )
    decisions, found = recipe.fit(scores, targets, dump.classes)
    uniform = Decisions.uniform(dump.classes, options.thr)
    ways = {
        'before': (scores, uniform.predict(scores)),
        'after': crossed,
        'in_sample': (decisions.calibrate(scores), decisions.predict(scores)),
    }
    predictions = {name: predicted for name, (_, predicted) in ways.items()}
    resampled = _resample(predictions, targets, options)
    judged = {
        name: _judge(*way, targets, resampled[name], options)
        for name, way in ways.items()
    }
    gain = {}
    for key in RATES:
        value = judged['after'].rates[key][0] - judged['before'].rates[key][0]
        draws = resampled['after'][key] - resampled['before'][key]
        gain[key] = (value, *interval(draws, value, options.level, (-1, 1)))

    labels = _label_rows(label_report(dump, decisions), found, recipe, judged)
    info = dict(
        target=str(recipe.target),
        thresholds='per-label' if recipe.per_label else 'global',
        calibrate=recipe.calibrate,
        num_images=len(targets),
        num_folds=options.num_folds,
        seed=options.seed,
        compared_with=options.thr,
        level=options.level,
        num_resamples=options.num_resamples,
        num_bins=options.num_bins,
        before=_for_json(judged['before']),
        after_cross_fitted=_for_json(judged['after']),
        gain_cross_fitted={key: _in_percent(value) for key, value in gain.items()},
        after_in_sample_too_good=_for_json(judged['in_sample']),
        notes={row['label']: row['note'] for row in labels if row['note']},
    )
    decisions = Decisions(
        decisions.classes, decisions.thresholds, decisions.temperatures, info
    )
    return DecisionReport(decisions, **judged, gain=gain, labels=labels)


def _resample(
    predictions: dict[str, np.ndarray], targets: np.ndarray, options: ReportOptions
) -> dict[str, dict[str, np.ndarray]]:
    """Compute ``RATES`` of each way to predict for all resamples, ``(R,)`` each."""
    blocks: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in predictions}
    for weights in draw_weights(len(targets), options.num_resamples, options.seed):
        for name, predicted in predictions.items():
            blocks[name].append(weighted_rates(predicted, targets, weights))
    return {
        name: {key: np.concatenate([block[key] for block in own]) for key in RATES}
        for name, own in blocks.items()
    }


def _judge(
    calibrated: np.ndarray,
    predicted: np.ndarray,
    targets: np.ndarray,
    resampled: dict[str, np.ndarray],
    options: ReportOptions,
) -> Judgement:
    everything = np.ones((1, len(targets)), dtype=np.float32)
    rates = {}
    for key, values in weighted_rates(predicted, targets, everything).items():
        value = float(values[0])
        ends = interval(resampled[key], value, options.level, (0, 1))
        rates[key] = (value, *ends)
    of_labels = class_rates(count_labels(predicted, targets))
    curve = reliability(calibrated, targets, options.num_bins)
    label_curves = reliability(calibrated, targets, options.num_bins, per_label=True)
    return Judgement(
        rates,
        float(calibration_error(curve)),
        calibration_error(label_curves),
        of_labels['precision'],
        of_labels['recall'],
        of_labels['F1'],
        curve,
    )


def _label_rows(
    report: list[dict],
    found: Thresholds,
    recipe: DecisionRecipe,
    judged: dict[str, Judgement],
) -> list[dict]:
    """Make the rows of :attr:`DecisionReport.labels`."""
    rows = []
    for index, row in enumerate(report):
        notes = []
        if not found.learned[index]:
            notes.append('no positive or no negative: threshold of all labels')
        elif not found.reached[index]:
            notes.append(f'no cut reaches {recipe.target}')
        own = recipe.per_label or recipe.calibrate == 'per-label'
        if own and 0 < row['support'] < FEW_POSITIVES:
            notes.append(f'fewer than {FEW_POSITIVES} positives: uncertain')
        # False for nan, which means no temperature.
        if at_bound(row['temperature']):
            notes.append('temperature at its bound: the scores do not determine it')
        rows.append(
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
    return rows


def _in_percent(values: tuple[float, ...]) -> list[float]:
    return [round(100 * value, 4) for value in values]


def _for_json(judgement: Judgement) -> dict:
    rates = {key: _in_percent(value) for key, value in judgement.rates.items()}
    return dict(
        rates,
        ECE=round(100 * judgement.error, 4),
        mean_label_ECE=round(100 * judgement.mean_label_error, 4),
    )
