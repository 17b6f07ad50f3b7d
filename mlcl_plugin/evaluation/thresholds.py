# SPDX-License-Identifier: Apache-2.0
"""Thresholds of labels from scores and targets of images."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..targets import is_absent, is_known, is_present

KINDS = ('f1', 'precision', 'recall')


@dataclass(frozen=True)
class ThresholdTarget:
    """What a threshold should reach.

    Args:
        kind (str): 'f1', the highest F1; 'precision', the highest recall among the cuts
            with a precision of at least ``value``; or 'recall', the highest precision
            among those with a recall of at least ``value``.
        value (float, optional): From above 0 to 1, for 'precision' and 'recall' only.
            Defaults to None.

    Raises:
        ValueError: If an argument is not as above.
    """

    kind: str = 'f1'
    value: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'kind must be one of {KINDS}, got {self.kind!r}.')
        if self.kind == 'f1':
            if self.value is not None:
                raise ValueError(f"'f1' has no value, got {self.value!r}.")
        elif self.value is None or not 0 < self.value <= 1:
            raise ValueError(
                f"'{self.kind}' needs a value above 0 and up to 1, got {self.value!r}."
            )

    @classmethod
    def parse(cls, text: str) -> 'ThresholdTarget':
        """Read ``'f1'``, ``'precision=0.9'`` or ``'recall=0.9'``.

        Raises:
            ValueError: If the text is none of these.
        """
        kind, equals, value = text.partition('=')
        try:
            return cls(kind, float(value) if equals else None)
        except ValueError as error:
            raise ValueError(
                'Expected f1, precision=NUMBER or recall=NUMBER with a number above 0 '
                f"and up to 1, got '{text}'."
            ) from error

    def __str__(self) -> str:
        return self.kind if self.value is None else f'{self.kind}={self.value:g}'


class Cuts(NamedTuple):
    """All cuts of ranked scores, from the highest score to the lowest.

    Attributes:
        scores (np.ndarray): ``(M,)`` the different scores, falling; a cut is below
            each.
        correct (np.ndarray): ``(M,)`` int64, present entries above the cut.
        predicted (np.ndarray): ``(M,)`` int64, known entries above it.
        num_positive (int): Present entries.
    """

    scores: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray
    num_positive: int

    @property
    def precision(self) -> np.ndarray:
        """``(M,)`` float64."""
        return self.correct / self.predicted

    @property
    def recall(self) -> np.ndarray:
        """``(M,)`` float64; nan without a positive."""
        if self.num_positive == 0:
            return np.full(len(self.scores), math.nan)
        return self.correct / self.num_positive


class Thresholds(NamedTuple):
    """Thresholds of L labels.

    Attributes:
        values (np.ndarray): ``(L,)`` float64.
        learned (np.ndarray): ``(L,)`` bool, False where a label has no positive or no
            negative and so got the threshold of all labels together.
        reached (np.ndarray): ``(L,)`` bool, False where no cut reaches the wanted
            precision and the closest one was taken.
    """

    values: np.ndarray
    learned: np.ndarray
    reached: np.ndarray


def make_cuts(scores: np.ndarray, targets: np.ndarray) -> Cuts:
    """Count the entries above every cut of some scores.

    Args:
        scores (np.ndarray): Any shape.
        targets (np.ndarray): The same shape, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.

    Returns:
        Cuts: One below each different score; none without a known entry.
    """
    known = is_known(targets)
    scores, positive = scores[known], is_present(targets[known])
    order = np.argsort(scores)[::-1]
    scores, positive = scores[order], positive[order]
    # The last entry of each group of equal scores.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], len(scores) > 0))
    correct = np.cumsum(positive)
    return Cuts(scores[last], correct[last], last + 1, int(positive.sum()))


def best_threshold(
    scores: np.ndarray, targets: np.ndarray, target: ThresholdTarget | None = None
) -> tuple[float, bool]:
    """Find the threshold that fits a target best, of all cuts of some scores.

    It lies in the middle between the scores on both sides of the cut, or between the
    lowest score and 0. Of several equally good cuts the middle one is taken (of an even
    number, the upper one of the two in the middle).

    Args:
        scores (np.ndarray): From 0 to 1, any shape; taken together.
        targets (np.ndarray): The same shape, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.
        target (ThresholdTarget, optional): What to reach. Defaults to None, the highest
            F1.

    Returns:
        tuple[float, bool]: The threshold, such that ``scores >= threshold`` makes the
        cut in the precision of ``scores``; and whether the target was reached. If no
        cut has the wanted precision, the cut of the highest one is taken, with the
        highest recall among several.

    Raises:
        ValueError: If no entry is present.
    """
    target = target or ThresholdTarget()
    cuts = make_cuts(scores, targets)
    if cuts.num_positive == 0:
        raise ValueError('A threshold needs an entry that is present, got none.')
    precision, recall = cuts.precision, cuts.recall
    reached = True
    if target.kind == 'f1':
        # From integers, to tell equal quotients from nearly equal ones.
        best = _largest(2 * cuts.correct, cuts.predicted + cuts.num_positive)
    elif target.kind == 'recall':
        fits = np.flatnonzero(recall >= target.value)
        best = fits[_largest(cuts.correct[fits], cuts.predicted[fits])]
        best = best[cuts.correct[best] == cuts.correct[best].max()]
    else:
        fits = np.flatnonzero(precision >= target.value)
        reached = len(fits) > 0
        if not reached:
            fits = _largest(cuts.correct, cuts.predicted)
        best = fits[cuts.correct[fits] == cuts.correct[fits].max()]
        # Of the same recall, the highest precision.
        best = best[:1]
    place = best[(len(best) - 1) // 2]
    above = cuts.scores[place]
    below = cuts.scores[place + 1] if place + 1 < len(cuts.scores) else above * 0
    middle = (above + below) / 2
    # If rounding put it on the lower score, that score would be predicted.
    return float(middle if middle > below else above), reached


def _largest(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the indices of the largest quotients of positive integers."""
    quotients = numerator / denominator
    # Equal quotients round alike. Different quotients of integers below 2**26 round to
    # different numbers.
    return np.flatnonzero(quotients == quotients.max())


def find_thresholds(
    scores: np.ndarray,
    targets: np.ndarray,
    target: ThresholdTarget | None = None,
    per_label: bool = True,
) -> Thresholds:
    """Find a threshold for each label, or one for all of them.

    The one for all uses the entries of all labels together, so that F1, precision and
    recall are the overall ones (OF1, OP, OR). A label without a known positive or
    without a known negative gets it too, since its own scores do not tell where to cut.

    Args:
        scores (np.ndarray): ``(N, L)`` from 0 to 1, in which precision they are
            compared later.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.
        target (ThresholdTarget, optional): What to reach. Defaults to None, the highest
            F1.
        per_label (bool): Whether each label gets its own. Defaults to True.

    Returns:
        Thresholds: Their values and how they were found.

    Raises:
        ValueError: If the shapes differ or no label has a positive.
    """
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f'Expected scores and targets of one shape (N, L), got {scores.shape} and '
            f'{targets.shape}.'
        )
    present, absent = is_present(targets), is_absent(targets)
    if not present.any():
        raise ValueError(
            'Thresholds need images with a label, but no label is present.'
        )
    num_labels = scores.shape[1]
    both = np.asarray(present.any(axis=0) & absent.any(axis=0))
    value, reached = best_threshold(scores, targets, target)
    values, all_reached = np.full(num_labels, value), np.full(num_labels, reached)
    if not per_label:
        return Thresholds(values, np.ones(num_labels, dtype=bool), all_reached)
    for label in np.flatnonzero(both):
        values[label], all_reached[label] = best_threshold(
            scores[:, label], targets[:, label], target
        )
    return Thresholds(values, both, all_reached)
