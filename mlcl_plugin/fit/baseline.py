# SPDX-License-Identifier: Apache-2.0
"""What is easy to have: classifiers of pooled features of the frozen backbone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..evaluation import average_precision
from ..models.neighbours import ImageNeighbours
from ..models.utils.logistic_regression import LinearMap, logistic_path
from ..targets import is_known, is_present

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried, for vectors of length 10."""
FOLDS = 5
LENGTH = 10.0


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
    strength, tuned = choose_strength(vectors, targets, STRENGTHS, seed)
    *_, linear = logistic_path(vectors, targets, [strength])
    neighbours = ImageNeighbours()
    neighbours.fill(pooled[:, None], targets)
    return Baseline(linear, strength, neighbours, tuned)


def choose_strength(
    vectors: Tensor, targets: Tensor, strengths: Sequence[float], seed: int = 0
) -> tuple[float, float]:
    """Choose C by cross-validation on the training images.

    Returns:
        tuple[float, float]: C, and the mAP of the images left out, for the labels that
        have a present image; nan without one.
    """
    scores = torch.stack(
        [
            torch.cat(parts)
            for parts in zip(
                *(
                    [
                        linear(vectors[held])
                        for linear in logistic_path(
                            vectors[rest], targets[rest], strengths
                        )
                    ]
                    for rest, held in folds(targets, seed)
                )
            )
        ]
    )
    order = torch.cat([held for _, held in folds(targets, seed)])
    values = [float(average_precision(own, targets[order]).nanmean()) for own in scores]
    if np.isnan(values).all():
        return 1.0, float('nan')
    # Of equally good ones the smallest, whose weights are the smallest.
    best = int(np.nanargmax(np.round(values, 6)))
    return strengths[best], values[best]


def folds(targets: Tensor, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Divide images into folds that each have a share of every label.

    The images of a label are dealt out to the folds in turn, the rarest label first.

    Returns:
        list[tuple[Tensor, Tensor]]: The rest, and the images left out, of each fold.
    """
    number = len(targets)
    count = min(FOLDS, number)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(number, generator=generator)
    present = is_present(targets) & is_known(targets)
    rank = present.sum(0).argsort(stable=True)
    # The rarest label of each image; those without one come last.
    rarest = torch.full((number,), len(rank))
    for place in range(len(rank) - 1, -1, -1):
        rarest[present[:, rank[place]]] = place
    order = order[rarest[order].argsort(stable=True)]
    fold = torch.empty(number, dtype=torch.long)
    fold[order] = torch.arange(number) % count
    indices = torch.arange(number)
    return [(indices[fold != k], indices[fold == k]) for k in range(count)]
