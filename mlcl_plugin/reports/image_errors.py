# SPDX-License-Identifier: Apache-2.0
"""Which images of a dump a model is best at, and which it is worst at."""

from typing import NamedTuple

import numpy as np

from ..evaluation.score_dump import ScoreDump
from ..targets import is_known, is_present

LEAST = 1e-7
"""Scores closer to 0 or 1 count as this close: one wrong label is not everything."""


class Extremes(NamedTuple):
    """Indices of images: those with the highest error, and with the lowest."""

    worst: list[int]
    best: list[int]


def image_errors(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute the mean binary cross-entropy of each image over its known labels.

    Args:
        scores (np.ndarray): ``(N, L)`` from 0 to 1.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown.

    Returns:
        np.ndarray: ``(N,)`` float64, in nats; nan for an image without a known label.
    """
    known, present = is_known(targets), is_present(targets)
    clipped = np.asarray(scores, dtype=np.float64).clip(LEAST, 1 - LEAST)
    losses = -np.log(np.where(present, clipped, 1 - clipped))
    number = known.sum(axis=1)
    sums = np.where(known, losses, 0).sum(axis=1)
    return np.divide(sums, number, out=np.full(len(sums), np.nan), where=number > 0)


def extreme_images(dump: ScoreDump, number: int) -> Extremes:
    """Find the images with the highest and the lowest error.

    Images without a present label are easy and say little, so that they are not among
    the best. No image is in both lists; of equal errors the first image counts.

    Args:
        dump (ScoreDump): Scores from 0 to 1, with targets.
        number (int): Largest number of images in each list.

    Returns:
        Extremes: The worst by falling error, the best by rising error.
    """
    errors = image_errors(dump.scores, dump.targets)
    order = np.argsort(errors, kind='stable')
    order = order[~np.isnan(errors[order])]
    worst = np.argsort(-errors, kind='stable')[: min(number, len(order) // 2 + 1)]
    has_label = np.any(is_present(dump.targets), axis=1).tolist()
    taken = set(worst.tolist())
    best = [i for i in order.tolist() if has_label[i] and i not in taken]
    return Extremes(
        [i for i in worst.tolist() if not np.isnan(errors[i])], best[:number]
    )
