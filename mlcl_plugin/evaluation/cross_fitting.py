# SPDX-License-Identifier: Apache-2.0
"""Decisions for images that they were not made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .calibration import fit_temperatures
from .decisions import Decisions
from .thresholds import Thresholds, ThresholdTarget, find_thresholds

CALIBRATIONS = ('none', 'global', 'per-label')


@dataclass(frozen=True)
class DecisionRecipe:
    """How to make decisions from scores and targets.

    Args:
        target (ThresholdTarget): What thresholds should reach. Defaults to the highest
            F1.
        per_label (bool): Whether each label gets its own threshold. Defaults to True.
        calibrate (str): 'none', 'global' for one temperature, or 'per-label'. Defaults
            to 'none'.

    Raises:
        ValueError: If ``calibrate`` is none of these.
    """

    target: ThresholdTarget = ThresholdTarget()
    per_label: bool = True
    calibrate: str = 'none'

    def __post_init__(self) -> None:
        if self.calibrate not in CALIBRATIONS:
            raise ValueError(
                f'calibrate must be one of {CALIBRATIONS}, got {self.calibrate!r}.'
            )

    def fit(
        self, scores: np.ndarray, targets: np.ndarray, classes: Sequence[str]
    ) -> tuple[Decisions, Thresholds]:
        """Make decisions: temperatures first, then thresholds of calibrated scores.

        Args:
            scores (np.ndarray): ``(N, L)`` from 0 to 1.
            targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown.
            classes (Sequence[str]): L names.

        Returns:
            tuple[Decisions, Thresholds]: The decisions, and how their thresholds were
            found.

        Raises:
            ValueError: If a shape does not fit, a score is not from 0 to 1, no label is
                present, or, to calibrate, no label is absent.
        """
        temperatures = None
        if self.calibrate != 'none':
            per_label = self.calibrate == 'per-label'
            temperatures = fit_temperatures(scores, targets, per_label)
            unused = np.zeros(len(classes))
            scores = Decisions(classes, unused, temperatures).calibrate(scores)
        found = find_thresholds(scores, targets, self.target, self.per_label)
        return Decisions(classes, found.values, temperatures), found


class CrossFit(NamedTuple):
    """Calibrated scores and predictions for images without part in the decisions.

    Attributes:
        calibrated (np.ndarray): ``(N, L)`` float64, calibrated scores.
        predicted (np.ndarray): ``(N, L)`` bool, labels that are predicted.
    """

    calibrated: np.ndarray
    predicted: np.ndarray


def cross_fit(
    recipe: DecisionRecipe,
    scores: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    num_folds: int = 5,
    seed: int = 0,
) -> CrossFit:
    """Leave out each of K folds of images once and decide about it by the others.

    Args:
        recipe (DecisionRecipe): How decisions are made.
        scores (np.ndarray): ``(N, L)`` from 0 to 1.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        classes (Sequence[str]): L names.
        num_folds (int): Number of folds, drawn at random and of about the same size.
            Defaults to 5.
        seed (int): Seed of the draw. Defaults to 0.

    Returns:
        CrossFit: Its metrics tell how good decisions made from ``(K - 1) / K`` of the
        images are on other images.

    Raises:
        ValueError: If there are less than two folds or more folds than images, or as
            in :meth:`DecisionRecipe.fit`.
    """
    if not 2 <= num_folds <= len(scores):
        raise ValueError(
            'The number of folds must be from 2 to the number of images, '
            f'{len(scores)}, got num_folds={num_folds}.'
        )
    order = np.random.default_rng(seed).permutation(len(scores))
    calibrated = np.empty(scores.shape)
    predicted = np.empty(scores.shape, dtype=bool)
    for number, fold in enumerate(np.array_split(order, num_folds), 1):
        rest = np.ones(len(scores), dtype=bool)
        rest[fold] = False
        try:
            decisions, _ = recipe.fit(scores[rest], targets[rest], classes)
        except ValueError as error:
            raise ValueError(
                f'Without fold {number} of {num_folds}, {rest.sum()} images are left: '
                f'{error} Take fewer folds or more images.'
            ) from error
        calibrated[fold] = decisions.calibrate(scores[fold])
        predicted[fold] = decisions.predict(scores[fold])
    return CrossFit(calibrated, predicted)
