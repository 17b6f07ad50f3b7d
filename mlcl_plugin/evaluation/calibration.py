# SPDX-License-Identifier: Apache-2.0
"""Whether scores are probabilities, and temperatures that bring them closer to it.

Source of both: `On Calibration of Modern Neural Networks
<https://arxiv.org/abs/1706.04599>`_ (Guo et al., ICML 2017). **Deviation**: theirs has
one class per image and uses the score of the predicted class. Here every label of every
image is a binary question, and its score is compared with how often the label is
present.
"""

import math
from typing import Literal, NamedTuple, overload

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logit

from ..targets import is_absent, is_known, is_present
from .decisions import MAX_LOGIT, MIN_LOGIT, score_hint

MAX_TEMPERATURE = 20.0
"""Temperatures are searched from the inverse of it up to it."""


class Reliability(NamedTuple):
    """Mean scores and how often labels are present, bin by bin.

    Attributes:
        edges (np.ndarray): ``(B + 1,)`` from 0 to 1.
        count (np.ndarray): ``(B,)`` or ``(B, L)`` int64, known entries.
        score (np.ndarray): The same shape, mean of their scores; nan without one.
        present (np.ndarray): The same shape, fraction of them that is present; nan
            without one.
    """

    edges: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # tuples have a method count
    score: np.ndarray
    present: np.ndarray


def reliability(
    scores: np.ndarray, targets: np.ndarray, num_bins: int = 15, per_label: bool = False
) -> Reliability:
    """Compare scores with frequencies in bins of equal width.

    Bin b holds scores from b / B up to, but without, (b + 1) / B; the last one also
    holds 1.

    Args:
        scores (np.ndarray): ``(N, L)`` from 0 to 1.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.
        num_bins (int): Number of bins. Defaults to 15.
        per_label (bool): Whether to keep labels apart. Defaults to False.

    Returns:
        Reliability: With ``(B, L)`` if ``per_label``, else ``(B,)``.

    Raises:
        ValueError: If the shapes differ, a score is not from 0 to 1, or ``num_bins``
            is not positive.
    """
    if num_bins < 1:
        raise ValueError(f'num_bins must be positive, got {num_bins}.')
    _check(scores, targets)
    num_labels = scores.shape[1]
    rows, labels = np.nonzero(is_known(targets))
    values = scores[rows, labels].astype(np.float64)
    present = is_present(targets[rows, labels])
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


def calibration_error(bins: Reliability) -> np.ndarray:
    """Compute the mean distance between score and frequency over bins.

    Args:
        bins (Reliability): Of all labels together or of each label.

    Returns:
        np.ndarray: ``()`` or ``(L,)`` from 0 to 1; nan without a known entry.
    """
    distance = np.nan_to_num(np.abs(bins.score - bins.present))
    with np.errstate(invalid='ignore'):
        return (bins.count * distance).sum(axis=0) / bins.count.sum(axis=0)


@overload
def expected_calibration_error(
    scores: np.ndarray,
    targets: np.ndarray,
    num_bins: int = 15,
    per_label: Literal[False] = False,
) -> float: ...


@overload
def expected_calibration_error(
    scores: np.ndarray, targets: np.ndarray, num_bins: int = 15, *, per_label: bool
) -> float | np.ndarray: ...


def expected_calibration_error(
    scores: np.ndarray, targets: np.ndarray, num_bins: int = 15, per_label: bool = False
) -> float | np.ndarray:
    """Compute the mean distance between score and frequency over equally wide bins.

    Each bin is weighted by its number of entries. With all labels together most
    entries are low scores of absent labels, so that the error is small for any model
    that recognises something. The errors per label have the same bias, but can be
    compared with each other. With few images the error comes out too large.

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
    error = calibration_error(reliability(scores, targets, num_bins, per_label))
    return error if per_label else float(error)


def fit_temperatures(
    scores: np.ndarray, targets: np.ndarray, per_label: bool = False
) -> np.ndarray:
    """Find the temperatures with the lowest binary cross-entropy.

    The temperature for all labels weighs every known entry alike. A label without a
    known positive or without a known negative gets it too: its own temperature would
    push all scores to one side or to the middle. Temperatures are searched from 1/20 to
    20.

    Args:
        scores (np.ndarray): ``(N, L)`` from 0 to 1.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.
        per_label (bool): Whether each label gets its own. Defaults to False.

    Returns:
        np.ndarray: ``(L,)`` float64, all the same unless ``per_label``.

    Raises:
        ValueError: If the shapes differ, a score is not from 0 to 1, no entry is
            present, or no entry is absent.
    """
    _check(scores, targets)
    present, absent = is_present(targets), is_absent(targets)
    if not present.any() or not absent.any():
        raise ValueError(
            'A temperature needs entries that are present and entries that are absent, '
            f'got {present.sum()} and {absent.sum()}.'
        )
    logits = logit(scores.astype(np.float64)).clip(MIN_LOGIT, MAX_LOGIT)
    temperatures = np.full(scores.shape[1], _fit_temperature(logits, targets))
    if per_label:
        both = present.any(axis=0) & absent.any(axis=0)
        for label in np.flatnonzero(both):
            temperatures[label] = _fit_temperature(logits[:, label], targets[:, label])
    return temperatures


def at_bound(temperature: float) -> bool:
    """Tell whether a temperature lies at an end of the range that is searched."""
    limit = math.log(MAX_TEMPERATURE)
    return abs(math.log(temperature)) > limit - 1e-3


def _fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    known = is_known(targets)
    # Cross-entropy depends only on the logit towards the wrong answer.
    wrong = np.where(is_present(targets[known]), -logits[known], logits[known])
    # All scores are 0.5, which no temperature changes.
    if not wrong.any():
        return 1.0

    def loss(log_temperature: float) -> float:
        return np.logaddexp(0, wrong * math.exp(-log_temperature)).mean()

    limit = math.log(MAX_TEMPERATURE)
    # Convex in 1 / T, so there is one minimum in log T.
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
