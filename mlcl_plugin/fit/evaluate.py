# SPDX-License-Identifier: Apache-2.0
"""Thresholds of a fitted model, and how good it is beside the baseline."""

from dataclasses import dataclass

import numpy as np

from ..evaluation.cross_fitting import DecisionRecipe
from ..evaluation.decisions import Decisions
from ..evaluation.score_dump import ScoreDump
from ..reports.decision_report import DecisionReport, ReportOptions, decision_report
from ..reports.evaluation_report import DumpResult, EvaluationOptions, evaluate_dumps

MODEL, LINEAR, NEAREST = 'model', 'logistic regression', 'nearest neighbours'
MOST_FOLDS = 5
FEW_IMAGES = 30
"""Validation images below which bootstrap intervals are too narrow."""


@dataclass(frozen=True)
class PartResult:
    """The evaluation of a part's images.

    Attributes:
        name (str): ``'val'`` or ``'test'``.
        results (list[DumpResult]): Of logistic regression, which the others are
            compared with, of the model and of nearest neighbours.
    """

    name: str
    results: list[DumpResult]

    def of(self, name: str) -> DumpResult:
        """The result of one of the three."""
        return next(result for result in self.results if result.name == name)


@dataclass(frozen=True)
class Found:
    """Decisions, and what could not be found out.

    Attributes:
        decisions (Decisions): Thresholds, perhaps with a temperature.
        report (DecisionReport, optional): How good they are, cross-fitted; None if
            there are too few images to tell.
        notes (list[str]): What cannot be known.
    """

    decisions: Decisions
    report: DecisionReport | None
    notes: list[str]


def find_decisions(dump: ScoreDump, seed: int = 0) -> Found:
    """Find thresholds and a temperature on the validation images.

    With too few images for cross-fitting, they are found, but not judged; without any
    present label, the threshold is 0.5.

    Args:
        dump (ScoreDump): Scores of the validation images.
        seed (int): Seed of the folds. Defaults to 0.

    Returns:
        Found: The decisions.
    """
    present = (dump.targets == 1).sum(0)
    absent = (dump.targets == 0).sum(0)
    notes = [
        f'{names}: no validation image has {"it" if len(which) == 1 else "them"}'
        f'{"" if lacking is present else " not"}, so that neither average precision '
        'nor a threshold of its own can be known'
        for lacking in (present, absent)
        if (which := _names(dump, lacking == 0)) and (names := ', '.join(which))
    ]
    if len(dump.images) < FEW_IMAGES:
        notes.append(
            f'{len(dump.images)} validation images are too few to trust their intervals'
        )
    few = _names(dump, (present > 0) & (present < 5))
    if few:
        notes.append(
            f'{", ".join(few)}: fewer than 5 validation images have the label, so that '
            'its values may be chance'
        )
    recipes = [
        DecisionRecipe(calibrate='global'),
        DecisionRecipe(),
        DecisionRecipe(per_label=False),
    ]
    reasons = []
    for recipe in recipes:
        for folds in range(min(MOST_FOLDS, len(dump.images)), 1, -1):
            try:
                report = decision_report(
                    dump, recipe, ReportOptions(num_folds=folds, seed=seed)
                )
            except ValueError as error:
                reasons.append(str(error))
            else:
                return Found(report.decisions, report, notes)
    for recipe in recipes:
        try:
            decisions, _ = recipe.fit(dump.scores, dump.targets, dump.classes)
        except ValueError as error:
            reasons.append(str(error))
            continue
        notes.append(
            'too few validation images to judge the thresholds on images that they '
            'were not found on'
        )
        return Found(decisions, None, notes)
    notes.append(f'no threshold can be found, so all are 0.5: {reasons[-1]}')
    return Found(Decisions.uniform(dump.classes, 0.5), None, notes)


def evaluate_part(
    name: str,
    dump: ScoreDump,
    baselines: dict[str, np.ndarray],
    decisions: dict[str, Decisions],
    seed: int = 0,
) -> PartResult:
    """Evaluate a model beside the baseline.

    Args:
        name (str): The part.
        dump (ScoreDump): Scores of the model.
        baselines (dict[str, np.ndarray]): Scores of :data:`LINEAR` and of
            :data:`NEAREST`.
        decisions (dict[str, Decisions]): Thresholds of each of the three.
        seed (int): Seed of the resamples. Defaults to 0.

    Returns:
        PartResult: With intervals, and with paired differences to logistic regression.
    """
    scores = {
        LINEAR: baselines[LINEAR],
        MODEL: dump.scores,
        NEAREST: baselines[NEAREST],
    }
    dumps = [
        ScoreDump(own, dump.targets, dump.classes, dump.images)
        for own in scores.values()
    ]
    results = evaluate_dumps(
        list(scores),
        dumps,
        [decisions[key] for key in scores],
        EvaluationOptions(seed=seed),
    )
    return PartResult(name, results)


def _names(dump: ScoreDump, chosen: np.ndarray) -> list[str]:
    """The names of chosen labels."""
    return [dump.classes[int(place)] for place in np.flatnonzero(chosen)]
