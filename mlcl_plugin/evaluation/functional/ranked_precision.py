# SPDX-License-Identifier: Apache-2.0
"""Average precision of each class, also with images of different weight."""

import math

import numpy as np
import torch
from torch import Tensor

from ...targets import is_known, is_present
from ..class_blocks import map_class_blocks
from .inputs import ArrayLike, as_scores, as_targets, check_matrices, check_nan


def average_precision(scores: ArrayLike, targets: ArrayLike) -> Tensor:
    r"""Compute the non-interpolated average precision of every class.

    With the entries of a class ranked by falling score,

    .. math::
        \text{AP} = \frac{1}{n_\text{pos}} \sum_{i\,\text{positive}}
            \frac{\text{positives among the first } r_i}{r_i}

    where :math:`r_i` is the rank of entry :math:`i`. Entries with equal scores
    share the last rank of their group, as in scikit-learn's
    ``average_precision_score``, so that the order of the rows does not matter.

    Args:
        scores (Tensor | np.ndarray | Sequence): Scores, shape (N, K). Any
            increasing function of them, such as logits, gives the same result as
            long as it creates no new ties.
        targets (Tensor | np.ndarray | Sequence): 1 present, 0 absent, -1 unknown,
            shape (N, K). Unknown entries are removed.

    Returns:
        Tensor: Average precision as fractions in [0, 1], shape (K,), float64, on
        the CPU. ``nan`` for a class without a positive.

    Raises:
        ValueError: If the shapes differ or are not (N, K), if a score is nan, or if
            a target is not 1, 0 or -1.

    Examples:
        >>> average_precision([[0.9, 0.2], [0.8, 0.7], [0.3, 0.6]],
        ...                   [[1, 0], [0, 0], [1, 1]])
        tensor([0.8333, 0.5000], dtype=torch.float64)
    """
    scores, targets = as_scores(scores), as_targets(targets)
    check_matrices('scores', scores, targets)
    check_nan(scores)
    return map_class_blocks(
        block_average_precision, [[scores], [targets]], [len(scores)]
    )


def block_average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Compute average precision from checked scores and targets (N, B), (B,) float64.

    At a positive with score s, precision is the number of positives divided by the
    number of known entries, both with scores >= s. Positions in sorted scores give
    these numbers. Equal scores share the position of the first of them.
    """
    # One class per row, as sorting along the contiguous dimension is faster.
    ranked, targets = scores.t().contiguous(), targets.t().contiguous()
    unknown, positive = ~is_known(targets), is_present(targets)
    num_known = targets.shape[1] - unknown.sum(1)
    num_positive = positive.sum(1)

    # The scores of the positives, in the first slots of each row. NumPy sorts values
    # without their order. torch always computes the order too, which takes long.
    slots = torch.arange(int(num_positive.max())) < num_positive[:, None]
    hits = ranked.new_full(slots.shape, math.inf)
    hits.masked_scatter_(slots, ranked[positive])
    hits.numpy().sort(axis=1)
    # Unknown entries go below all others.
    ranked.masked_fill_(unknown, -math.inf)
    ranked.numpy().sort(axis=1)

    below = torch.searchsorted(ranked, hits)[slots]
    classes = torch.arange(len(slots)).repeat_interleave(num_positive)
    # The minimum matters for a score of -inf, which equals the unknown entries.
    seen = torch.minimum(ranked.shape[1] - below, num_known[classes])

    # Now all positives in one row, class after class.
    hits = hits[slots]
    first = torch.ones_like(hits, dtype=torch.bool)
    first[1:] = (hits[1:] != hits[:-1]) | (classes[1:] != classes[:-1])
    place = (torch.arange(len(hits)) * first).cummax(0).values
    found = num_positive.cumsum(0)[classes] - place

    # Added one after the other, so that the sum does not depend on the block.
    total = torch.zeros(len(slots), dtype=torch.float64)
    total.index_add_(0, classes, found.double() / seen)
    # 0 / 0 makes the nan of a class without a positive.
    return total / num_positive


def weighted_average_precision(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Compute the average precision of each label for R weightings of the images.

    Each is :func:`average_precision` with each image repeated as often as its weight
    says, in single precision. Scores are sorted once for all weightings.

    Args:
        scores (np.ndarray): ``(N, L)``.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown. Unknown
            entries are left out.
        weights (np.ndarray): ``(R, N)``, integers from 0; a row sums to less than
            2**24, up to which float32 counts exactly.

    Returns:
        np.ndarray: ``(R, L)`` float64; nan where no image with the label has weight.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if (
        scores.ndim != 2
        or scores.shape != targets.shape
        or weights.ndim != 2
        or weights.shape[1] != len(scores)
    ):
        raise ValueError(
            'Expected scores and targets (N, L) and weights (R, N), got '
            f'{scores.shape}, {targets.shape} and {weights.shape}.'
        )
    # One image per row, so that the numbers that are added lie side by side.
    weights = np.ascontiguousarray(weights.T, dtype=np.float32)
    result = np.full((weights.shape[1], scores.shape[1]), math.nan)
    for label in range(scores.shape[1]):
        order = np.flatnonzero(is_known(targets[:, label]))
        order = order[np.argsort(scores[order, label])[::-1]]
        positive = is_present(targets[order, label])
        if not positive.any():
            continue
        # The end of each group of equal scores with a positive.
        ranked = scores[order, label]
        group = np.cumsum(np.append(False, ranked[1:] != ranked[:-1]))
        of_positive = group[positive]
        starts = np.flatnonzero(np.append(True, of_positive[1:] != of_positive[:-1]))
        ends = np.searchsorted(group, of_positive[starts], side='right')
        found = np.add.reduceat(weights[order[positive]], starts)
        pieces = np.append(0, ends[:-1])
        seen = np.add.reduceat(weights[order[: ends[-1]]], pieces).cumsum(axis=0)
        hits = found.cumsum(axis=0)
        # Where nothing was seen, nothing was found: 0 / 1.
        precision = hits / np.maximum(seen, 1)
        with np.errstate(invalid='ignore'):
            total = (found * precision).sum(axis=0, dtype=np.float64)
            result[:, label] = total / hits[-1]
    return result
