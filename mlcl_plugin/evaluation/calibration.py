# SPDX-License-Identifier: Apache-2.0
"""Whether scores are probabilities, and temperatures that bring them nearer.

Source of both: `On Calibration of Modern Neural Networks
<https://arxiv.org/abs/1706.04599>`_ (Guo et al., ICML 2017). **Deviation**: theirs has
one class an image and looks at its score alone. Here every label of every image is a
yes or no of its own, and the score is compared with how often the label is present.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logit

from .decisions import MAX_LOGIT, MIN_LOGIT, score_hint

MAX_TEMPERATURE = 20.0
"""Temperatures are sought from the inverse of it up to it."""


class Reliability(NamedTuple):
    """Scores against how often labels are present, bin by bin.

    Attributes:
        edges (np.ndarray): ``(B + 1,)`` from 0 to 1.
        count (np.ndarray): ``(B,)`` or ``(B, L)`` int64, known entries.
        score (np.ndarray): The same shape, mean of their scores; nan without one.
        present (np.ndarray): The same shape, fraction of them that is present; nan
            without one.
    """

    edges: np.ndarray
    count: np.ndarray
    score: np.ndarray
    present: np.ndarray


def reliability(
    scores: np.ndarray, targets: np.ndarray, num_bins: int = 15, per_label: bool = False
) -> Reliability:
    """Compare scores with frequencies in bins of equal width.

    Bin b holds scores from b / B up to, but without, (b + 1) / B; the last one holds 1,
    too.

    Args:
        scores (np.ndarray): ``(N, L)`` from 0 to 1.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.
        num_bins (int): Number of bins. Defaults to 15.
        per_label (bool): Whether to keep labels apart. Defaults to False.

    Returns:
        Reliability: With ``(B, L)`` if ``per_label``, else ``(B,)``.

    Raises:
        ValueError: If the shapes differ, a score is outside of [0, 1], or ``num_bins``
            is not positive.
    """
    if num_bins < 1:
        raise ValueError(f'num_bins must be positive, got {num_bins}.')
    _check(scores, targets)
    num_labels = scores.shape[1]
    rows, labels = np.nonzero(targets != -1)
    values = scores[rows, labels].astype(np.float64)
    present = targets[rows, labels] == 1
    bins = np.minimum((values * num_bins).astype(np.int64), num_bins - 1)
    places = bins * num_labels + labels
    count, score, hits = (
        np.bincount(places, weights, num_bins * num_labels).reshape(num_bins, -1)
        for weights in (None, values, present)
    )
    if not per_label:
        count, score, hits = (x.sum(axis=1) for x in (count, score, hits))
    with np.errstate(invalid='ignore'):
        return Reliability(
            np.linspace(0, 1, num_bins + 1), count, score / count, hits / count
        )


def expected_calibration_error(
    scores: np.ndarray, targets: np.ndarray, num_bins: int = 15, per_label: bool = False
) -> float | np.ndarray:
    """Mean distance between score and frequency over the bins of :func:`reliability`.

    Each bin weighs as many entries as it has. With all labels together most entries
    are low scores of absent labels, so that the figure is small for any model that
    recognises something; the figures per label have the same leaning, but let labels
    be compared. Few images make it larger than it is.

    Args:
        scores (np.ndarray): As in :func:`reliability`.
        targets (np.ndarray): As in :func:`reliability`.
        num_bins (int): Number of bins. Defaults to 15.
        per_label (bool): Whether to keep labels apart. Defaults to False.

    Returns:
        float | np.ndarray: From 0 to 1; ``(L,)`` if ``per_label``. nan without a known
        entry.

    Raises:
        ValueError: As in :func:`reliability`.
    """
    bins = reliability(scores, targets, num_bins, per_label)
    distance = np.nan_to_num(np.abs(bins.score - bins.present))
    with np.errstate(invalid='ignore'):
        error = (bins.count * distance).sum(axis=0) / bins.count.sum(axis=0)
    return error if per_label else float(error)


def fit_temperatures(
    scores: np.ndarray, targets: np.ndarray, per_label: bool = False
) -> np.ndarray:
    """Find the temperatures with the least binary cross-entropy.

    The one for all labels counts every known entry alike. A label without a known
    positive or without a known negative gets it, too: its own would push all scores to
    one side, or to the middle. Temperatures are sought from 1/20 to 20.

    Args:
        scores (np.ndarray): ``(N, L)`` from 0 to 1.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.
        per_label (bool): Whether each label gets its own. Defaults to False.

    Returns:
        np.ndarray: ``(L,)`` float64, all the same unless ``per_label``.

    Raises:
        ValueError: If the shapes differ, a score is outside of [0, 1], or no entry is
            present, or none absent.
    """
    _check(scores, targets)
    if not (targets == 1).any() or not (targets == 0).any():
        raise ValueError(
            'A temperature needs entries that are present and entries that are absent, '
            f'got {np.sum(targets == 1)} and {np.sum(targets == 0)}.'
        )
    logits = logit(scores.astype(np.float64)).clip(MIN_LOGIT, MAX_LOGIT)
    temperatures = np.full(scores.shape[1], _fit_temperature(logits, targets))
    if per_label:
        both = (targets == 1).any(axis=0) & (targets == 0).any(axis=0)
        for label in np.flatnonzero(both):
            temperatures[label] = _fit_temperature(logits[:, label], targets[:, label])
    return temperatures


def at_bound(temperature: float) -> bool:
    """Whether a temperature is as far from 1 as is looked for one."""
    limit = math.log(MAX_TEMPERATURE)
    return abs(math.log(temperature)) > limit - 1e-3


def _fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    known = targets != -1
    # Cross-entropy depends on the logit towards the wrong side alone.
    wrong = np.where(targets[known] == 1, -logits[known], logits[known])
    # All at 0.5, which no temperature changes.
    if not wrong.any():
        return 1.0

    def loss(log_temperature: float) -> float:
        return np.logaddexp(0, wrong * math.exp(-log_temperature)).mean()

    limit = math.log(MAX_TEMPERATURE)
    # Convex in 1 / T, and so with one minimum in log T.
    options = dict(xatol=1e-6)
    result = minimize_scalar(
        loss, bounds=(-limit, limit), method='bounded', options=options
    )
    return math.exp(result.x)


def _check(scores: np.ndarray, targets: np.ndarray) -> None:
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f'Expected scores and targets of one shape (N, L), got {scores.shape} and '
            f'{targets.shape}.'
        )
    wrong = ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f'Scores must be from 0 to 1, got {scores[row, column]} in image {row}, '
            f'label {column} (from 0). {score_hint(scores[row, column])}'
        )
