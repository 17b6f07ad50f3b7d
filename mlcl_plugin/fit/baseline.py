# SPDX-License-Identifier: Apache-2.0
"""What is easy to have: classifiers of pooled features of the frozen backbone."""

from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..evaluation import average_precision
from ..models.neighbours import ImageNeighbours
from ..models.neighbours.pooled_logistic import LENGTH, STRENGTHS
from ..models.utils.logistic_regression import (
    LinearMap,
    choose_strength,
    logistic_path,
)

FOLDS = 5


class Baseline(NamedTuple):
    """Classifiers of pooled features.

    Attributes:
        linear (LinearMap): Logistic regression.
        strength (float): Its C.
        neighbours (ImageNeighbours): Nearest images.
        tuned_ap (float): mAP of the cross-validation that chose C, nan without one.
    """

    linear: LinearMap
    strength: float
    neighbours: ImageNeighbours
    tuned_ap: float

    def linear_scores(self, pooled: Tensor) -> np.ndarray:
        """Scores ``(N, L)`` of logistic regression."""
        return self.linear(scale(pooled)).sigmoid().numpy()

    def neighbour_scores(self, pooled: Tensor) -> np.ndarray:
        """Scores ``(N, L)`` of nearest images; the frequency where they cannot vote."""
        votes = self.neighbours(pooled[:, None]).present.exp()
        prior = self.linear.bias.sigmoid().expand_as(votes)
        return votes.where(~votes.isnan(), prior).numpy()


def scale(pooled: Tensor) -> Tensor:
    """Vectors of the length :data:`LENGTH`."""
    return LENGTH * F.normalize(pooled.float(), dim=1)


def mean_ap(scores: Tensor, targets: Tensor) -> float:
    """The mean of AP over the labels that are present; nan without any."""
    return float(average_precision(scores, targets).nanmean())


def fit_baseline(pooled: Tensor, targets: Tensor, seed: int = 0) -> Baseline:
    """Fit the baseline on the training images.

    Args:
        pooled (Tensor): ``(N, C)`` pooled features of the images, by the test pipeline.
        targets (Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        seed (int): Seed of the folds. Defaults to 0.

    Returns:
        Baseline: C has the highest mAP in a cross-validation of five folds.
    """
    vectors = scale(pooled)
    strength, tuned = choose_strength(
        vectors, targets, STRENGTHS, measure=mean_ap, num_folds=FOLDS, seed=seed
    )
    *_, linear = logistic_path(vectors, targets, [strength])
    neighbours = ImageNeighbours()
    neighbours.fill(pooled[:, None], targets)
    return Baseline(linear, strength, neighbours, tuned)
