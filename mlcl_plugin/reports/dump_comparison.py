# SPDX-License-Identifier: Apache-2.0
"""Whether one model is better than another on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from ..evaluation.bootstrap import BLOCK_ENTRIES, draw_weights, interval
from ..evaluation.functional.label_rates import RATES, weighted_rates
from ..evaluation.functional.ranked_precision import weighted_average_precision
from ..evaluation.score_dump import ScoreDump

METRICS = ('mAP', *RATES)
"""Names of the metrics that are compared."""


class Estimate(NamedTuple):
    """The value of a metric with its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A dump compared with the first one.

    Attributes:
        differences (dict[str, Estimate]): Its value minus that of the first dump, by
            the name of the metric.
        p_values (dict[str, float]): Of the permutation test, two-sided.
        label_differences (list[Estimate]): Of AP, one per label.
    """

    differences: dict[str, Estimate]
    p_values: dict[str, float]
    label_differences: list[Estimate]


class BootstrapReport(NamedTuple):
    """Metrics of several dumps of the same images.

    Attributes:
        metrics (list[dict[str, Estimate]]): ``METRICS`` of each dump, from 0 to 1.
        label_ap (list[list[Estimate]]): AP of each label of each dump.
        comparisons (list[Comparison]): Of all dumps but the first.
    """

    metrics: list[dict[str, Estimate]]
    label_ap: list[list[Estimate]]
    comparisons: list[Comparison]


def align_dumps(first: ScoreDump, other: ScoreDump) -> ScoreDump:
    """Put the images of a dump into the order of another.

    Images are matched by their names. If these are paths that differ, they are matched
    by the names of the files, if these are unique and the same in both dumps.

    Args:
        first (ScoreDump): The order.
        other (ScoreDump): The same images and labels.

    Returns:
        ScoreDump: ``other`` with the images and their names in the order of ``first``.

    Raises:
        ValueError: If labels, images or targets differ, or if a name comes twice.
    """
    if first.classes != other.classes:
        missing = [name for name in first.classes if name not in other.classes]
        added = [name for name in other.classes if name not in first.classes]
        raise ValueError(
            'The labels differ'
            + (
                f': missing {missing[:5]}, added {added[:5]} (the first five of each).'
                if missing or added
                else ' in their order.'
            )
        )
    names = [list(first.images), list(other.images)]
    if set(names[0]) != set(names[1]):
        files = [[PurePath(name).name for name in part] for part in names]
        if set(files[0]) == set(files[1]) and len(set(files[0])) == len(first.images):
            names = files
    for part in names:
        if len(set(part)) < len(part):
            unique, counts = np.unique(part, return_counts=True)
            raise ValueError(
                f"The image '{unique[counts.argmax()]}' comes {counts.max()} times. "
                'Images are matched by their names, which must be different.'
            )
    gone, new = set(names[0]) - set(names[1]), set(names[1]) - set(names[0])
    if gone or new:
        raise ValueError(
            f'The images differ: {len(gone)} are missing, such as '
            f'{sorted(gone)[:2]}, and {len(new)} are added, such as '
            f'{sorted(new)[:2]}. Dump both models on the same images.'
        )
    place = {name: index for index, name in enumerate(names[1])}
    order = [place[name] for name in names[0]]
    targets = other.targets[order]
    if (targets != first.targets).any():
        row, column = np.argwhere(targets != first.targets)[0]
        raise ValueError(
            f'{(targets != first.targets).sum()} targets differ, the first one is '
            f"'{first.classes[column]}' of {first.images[row]}: "
            f'{first.targets[row, column]} and {targets[row, column]}. Dump both with '
            'the same annotation.'
        )
    return ScoreDump(other.scores[order], targets, first.classes, first.images)


def bootstrap_report(
    dumps: Sequence[ScoreDump],
    predicted: Sequence[np.ndarray],
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapReport:
    """Compute metrics with intervals, and differences to the first dump.

    Resamples draw images and are the same for all dumps, so that intervals of
    differences are those of pairs; see :func:`interval`. Labels without a positive (in
    a resample, without a positive in it) are left out of mAP, CP and CR. Thresholds are
    taken as given: the intervals leave out that other images would give other
    thresholds. Differences are tested by :func:`permutation_test`.

    Args:
        dumps (Sequence[ScoreDump]): Of the same images in the same order, see
            :func:`align_dumps`.
        predicted (Sequence[np.ndarray]): ``(N, L)`` bool for each of them.
        num_resamples (int): Resamples, and permutations. Defaults to 1000.
        level (float): Level of the intervals. Defaults to 0.95.
        seed (int): Seed of the draws. Defaults to 0.

    Returns:
        BootstrapReport: Metrics, AP of each label and comparisons.

    Raises:
        ValueError: If a number is not positive or ``level`` not between 0 and 1.
    """
    targets = dumps[0].targets
    everything = np.ones((1, len(targets)), dtype=np.float32)
    exact = [
        _all_metrics(dump.scores, mask, targets, everything)
        for dump, mask in zip(dumps, predicted)
    ]
    blocks: list[list[dict[str, np.ndarray]]] = [[] for _ in dumps]
    for weights in draw_weights(len(targets), num_resamples, seed):
        for own, dump, mask in zip(blocks, dumps, predicted):
            own.append(_all_metrics(dump.scores, mask, targets, weights))
    resampled = [
        {key: np.concatenate([block[key] for block in own]) for key in own[0]}
        for own in blocks
    ]

    metrics, label_ap = [], []
    for values, draws in zip(exact, resampled):
        own_metrics, own_ap = _estimate(values, draws, level, (0, 1))
        metrics.append(own_metrics)
        label_ap.append(own_ap)
    comparisons = []
    for number in range(1, len(dumps)):
        differences, label_differences = _estimate(
            _subtract(exact[number], exact[0]),
            _subtract(resampled[number], resampled[0]),
            level,
            (-1, 1),
        )
        p_values = permutation_test(
            dumps[0],
            predicted[0],
            dumps[number],
            predicted[number],
            num_resamples,
            seed,
        )
        comparisons.append(Comparison(differences, p_values, label_differences))
    return BootstrapReport(metrics, label_ap, comparisons)


def _subtract(
    values: dict[str, np.ndarray], others: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {key: value - others[key] for key, value in values.items()}


def _estimate(
    values: dict[str, np.ndarray],
    draws: dict[str, np.ndarray],
    level: float,
    limits: tuple[float, float],
) -> tuple[dict[str, Estimate], list[Estimate]]:
    """Add intervals to ``METRICS`` and to the AP of each label."""

    def one(value: float, draw: np.ndarray) -> Estimate:
        return Estimate(float(value), *interval(draw, value, level, limits))

    metrics = {key: one(values[key][0], draws[key]) for key in METRICS}
    return metrics, [one(*pair) for pair in zip(values['AP'][0], draws['AP'].T)]


def permutation_test(
    first: ScoreDump,
    first_predicted: np.ndarray,
    other: ScoreDump,
    other_predicted: np.ndarray,
    num_permutations: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Test whether two models differ on the same images.

    If they did not, their outputs for an image could be swapped. Each permutation swaps
    about half of the images, drawn at random. The p-value is the fraction of
    permutations, the given state included, whose difference is at least as large.
    Scores are swapped as they are, which makes the test of AP exact. It then also
    detects if two models score on different scales, as with the asymmetric loss:
    calibrate such models first. Swapping ranks within each model instead would make
    ties that no swap has, and p-values that are too small.

    Args:
        first (ScoreDump): One model.
        first_predicted (np.ndarray): ``(N, L)`` bool, the labels it predicts.
        other (ScoreDump): The other model, of the same images in the same order.
        other_predicted (np.ndarray): ``(N, L)`` bool, the labels it predicts.
        num_permutations (int): Number of permutations. Defaults to 1000.
        seed (int): Seed of the draws. Defaults to 0.

    Returns:
        dict[str, float]: Two-sided p-values of all ``METRICS``; nan where a metric is
        undefined, as mAP without any positive.

    Raises:
        ValueError: If ``num_permutations`` is not positive.
    """
    if num_permutations < 1:
        raise ValueError(
            f'The number of permutations must be positive, got {num_permutations}.'
        )
    num_images = len(first.targets)
    scores, masks, targets = (
        np.concatenate(pair)
        for pair in (
            (first.scores, other.scores),
            (first_predicted, other_predicted),
            (first.targets, other.targets),
        )
    )
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK_ENTRIES // (2 * num_images))
    differences: dict[str, list[np.ndarray]] = {key: [] for key in METRICS}
    for start in range(-1, num_permutations, size):
        number = min(size, num_permutations - start)
        swapped = rng.random((number, num_images), dtype=np.float32) < 0.5
        if start == -1:
            swapped[0] = False
        weights = np.concatenate([~swapped, swapped], axis=1).astype(np.float32)
        sides = [
            _all_metrics(scores, masks, targets, side)
            for side in (weights, 1 - weights)
        ]
        for key, values in differences.items():
            values.append(sides[1][key] - sides[0][key])
    result = {}
    for key, values in differences.items():
        sizes = np.abs(np.concatenate(values))
        # Rounding may make an equal difference a little smaller.
        extreme = float((sizes >= sizes[0] - 1e-7).mean())
        result[key] = float('nan') if np.isnan(sizes[0]) else extreme
    return result


def _all_metrics(
    scores: np.ndarray, predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """``METRICS``, each ``(R,)``, and ``AP``, ``(R, L)``, for weights ``(R, N)``."""
    ap = weighted_average_precision(scores, targets, weights)
    present = ~np.isnan(ap)
    with np.errstate(invalid='ignore'):
        mean = ap.sum(axis=1, where=present) / present.sum(axis=1)
    return dict(AP=ap, mAP=mean, **weighted_rates(predicted, targets, weights))


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for several tests by Holm's method.

    A nan is no test: it stays nan, and the others are not adjusted for it.
    """
    given = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(given, np.nan)
    order = np.argsort(given)[: np.isfinite(given).sum()]
    steps = given[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()
