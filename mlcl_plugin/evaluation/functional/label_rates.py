# SPDX-License-Identifier: Apache-2.0
"""Precision, recall and F1 from counts of labels: of each class, per class, overall."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...targets import is_known, is_present
from .inputs import ArrayLike, as_targets, check_matrices

ABSENT_CLASSES = ('skip', 'zero')

RATES = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')
"""What :func:`mean_rates` computes, in its order."""


class LabelCounts(NamedTuple):
    """Numbers of labels of each class.

    Attributes:
        true (Tensor): ``(..., K)``, present labels.
        predicted (Tensor): ``(..., K)``, predicted labels that are known.
        correct (Tensor): ``(..., K)``, predicted labels that are present.
    """

    true: Tensor
    predicted: Tensor
    correct: Tensor


def label_masks(predicted: Tensor, targets: Tensor) -> LabelCounts:
    """Tell which entries count as true, as predicted and as correct.

    Args:
        predicted (Tensor): ``(N, K)`` bool.
        targets (Tensor): ``(N, K)``, 1 present, 0 absent, -1 unknown.

    Returns:
        LabelCounts: Masks ``(N, K)``; their sums over the images are the counts.
    """
    true = is_present(targets)
    return LabelCounts(true, predicted & is_known(targets), predicted & true)


def count_labels(predicted: ArrayLike, targets: ArrayLike) -> LabelCounts:
    """Count true, predicted and correct labels of each class.

    Args:
        predicted (Tensor | np.ndarray | Sequence): ``(N, K)`` bool.
        targets (Tensor | np.ndarray | Sequence): ``(N, K)``, 1 present, 0 absent, -1
            unknown.

    Returns:
        LabelCounts: ``(K,)`` int64.
    """
    masks = label_masks(torch.as_tensor(predicted), torch.as_tensor(targets))
    return LabelCounts(*(mask.sum(0) for mask in masks))


def class_rates(counts: LabelCounts) -> dict[str, np.ndarray]:
    """Compute precision, recall and F1 of each class.

    Args:
        counts (LabelCounts): ``(K,)``.

    Returns:
        dict[str, np.ndarray]: ``precision``, nan without a prediction; ``recall`` and
        ``F1``, nan without a positive; each ``(K,)`` float64 from 0 to 1.
    """
    true, predicted, correct = (count.numpy() for count in counts)
    return {
        name: np.where(defined > 0, numerator / np.maximum(denominator, 1), math.nan)
        for name, numerator, denominator, defined in (
            ('precision', correct, predicted, predicted),
            ('recall', correct, true, true),
            ('F1', 2 * correct, true + predicted, true),
        )
    }


def mean_rates(counts: LabelCounts, absent_classes: str = 'skip') -> dict[str, Tensor]:
    """Compute ``RATES`` from counts; :func:`precision_recall_f1` has the formulas.

    Args:
        counts (LabelCounts): ``(..., K)``, one or more sets of counts.
        absent_classes (str): See :func:`precision_recall_f1`. Defaults to ``'skip'``.

    Returns:
        dict[str, Tensor]: Each ``(...)`` float64 from 0 to 1.
    """
    true, predicted, correct = (count.double() for count in counts)
    averaged = true > 0 if absent_classes == 'skip' else torch.ones_like(true).bool()
    # If a denominator is 0, its numerator is 0 too. Clamping to 1 then gives 0.
    class_means = [
        _class_mean(correct / number.clamp(min=1), averaged)
        for number in (predicted, true)
    ]
    overall = [
        correct.sum(-1) / number.sum(-1).clamp(min=1) for number in (predicted, true)
    ]
    result = {}
    for kind, (precision, recall) in (('C', class_means), ('O', overall)):
        total = precision + recall
        f1 = 2 * precision * recall / total.where(total > 0, 1)
        result.update({f'{kind}P': precision, f'{kind}R': recall, f'{kind}F1': f1})
    return result


def _class_mean(values: Tensor, averaged: Tensor) -> Tensor:
    """Average values ``(..., K)`` over some classes; 0 without any of them."""
    num_classes = values.shape[-1]
    # Row by row, so that one set and many sets round in the same way.
    sums = [
        row[mask].sum()
        for row, mask in zip(
            values.reshape(-1, num_classes), averaged.reshape(-1, num_classes)
        )
    ]
    return torch.stack(sums).view(values.shape[:-1]) / averaged.sum(-1).clamp(min=1)


def precision_recall_f1(
    pred_mask: ArrayLike, targets: ArrayLike, absent_classes: str = 'skip'
) -> dict[str, float]:
    r"""Compute per-class (C) and overall (O) precision, recall and F1.

    With :math:`N^c_k` correct, :math:`N^p_k` predicted and :math:`N^g_k` true
    labels of class :math:`k`,

    .. math::
        \text{OP} &= \frac{\sum_k N^c_k}{\sum_k N^p_k},&
        \text{OR} &= \frac{\sum_k N^c_k}{\sum_k N^g_k},&
        \text{OF1} &= \frac{2\,\text{OP}\,\text{OR}}{\text{OP} + \text{OR}} \\
        \text{CP} &= \frac{1}{K} \sum_k \frac{N^c_k}{N^p_k},&
        \text{CR} &= \frac{1}{K} \sum_k \frac{N^c_k}{N^g_k},&
        \text{CF1} &= \frac{2\,\text{CP}\,\text{CR}}{\text{CP} + \text{CR}}

    CF1 is the harmonic mean of the two averages, not the average of the per-class
    F1. A quotient with denominator 0 is 0, never nan.

    Args:
        pred_mask (Tensor | np.ndarray | Sequence): True where a label is
            predicted, bool, shape (N, K).
        targets (Tensor | np.ndarray | Sequence): 1 present, 0 absent, -1 unknown,
            shape (N, K). Unknown entries count neither as prediction nor as truth.
        absent_classes (str): What to do with a class without a positive target.
            ``'skip'`` leaves it out of CP and CR, ``'zero'`` counts it there as 0.
            Its predictions are false positives of OP either way. Defaults to
            ``'skip'``.

    Returns:
        dict[str, float]: ``CP``, ``CR``, ``CF1``, ``OP``, ``OR`` and ``OF1`` as
        fractions in [0, 1].

    Raises:
        ValueError: If the shapes differ or are not (N, K), if ``pred_mask`` is not
            boolean, if a target is not 1, 0 or -1, or if ``absent_classes`` is
            unknown.

    Examples:
        >>> rates = precision_recall_f1([[True, True], [False, True]],
        ...                             [[1, 0], [0, 1]])
        >>> rates['CP'], rates['OR']
        (0.75, 1.0)
    """
    check_absent_classes(absent_classes)
    pred_mask = torch.as_tensor(pred_mask).detach().cpu()
    targets = as_targets(targets)
    check_matrices('pred_mask', pred_mask, targets)
    if pred_mask.dtype != torch.bool:
        raise ValueError(
            f'pred_mask must be boolean, got {pred_mask.dtype}. Compare scores with '
            'a threshold first.'
        )
    rates = mean_rates(count_labels(pred_mask, targets), absent_classes)
    return {name: value.item() for name, value in rates.items()}


def weighted_rates(
    predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute precision, recall and F1 over labels for R weightings of the images.

    Each is :func:`precision_recall_f1` with each image repeated as often as its weight
    says. CP and CR leave out labels without a positive of any weight.

    Args:
        predicted (np.ndarray): ``(N, L)`` bool.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        weights (np.ndarray): ``(R, N)``, integers from 0; a row sums to less than
            2**24, up to which float32 counts exactly.

    Returns:
        dict[str, np.ndarray]: ``CP``, ``CR``, ``CF1``, ``OP``, ``OR`` and ``OF1``, each
        ``(R,)`` from 0 to 1.
    """
    masks = label_masks(torch.as_tensor(predicted), torch.as_tensor(targets))
    weights = weights.astype(np.float32)
    counts = LabelCounts(
        *(torch.from_numpy(weights @ mask.numpy().astype(np.float32)) for mask in masks)
    )
    return {name: value.numpy() for name, value in mean_rates(counts).items()}


def check_absent_classes(absent_classes: str) -> None:
    """Raise a ValueError if ``absent_classes`` is unknown."""
    if absent_classes not in ABSENT_CLASSES:
        raise ValueError(
            f'absent_classes must be one of {ABSENT_CLASSES}, got {absent_classes!r}.'
        )
