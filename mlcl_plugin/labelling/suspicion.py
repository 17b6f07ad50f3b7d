# SPDX-License-Identifier: Apache-2.0
"""How much the given labels are doubted."""

from collections.abc import Sequence

import numpy as np

from ..targets import PRESENT, UNKNOWN, is_absent, is_known, is_present

KINDS = ('both', 'extra', 'missing')
"""Labels to doubt: all known ones, those that are present, those that are absent."""


def mean_probability(members: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the probabilities of several models.

    Args:
        members (Sequence[np.ndarray]): ``(N, L)`` each, NaN where a model has none.

    Returns:
        np.ndarray: ``(N, L)``, the mean of those that are there; NaN without any.
    """
    stacked = np.stack(members).astype(np.float64)
    there = ~np.isnan(stacked)
    number = there.sum(0)
    total = np.where(there, stacked, 0).sum(0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def suspicion(
    probability: np.ndarray, targets: np.ndarray, kind: str = 'both'
) -> np.ndarray:
    """The probability that a given label is wrong, in the eyes of a model.

    It is 1 - p for a label that is given as present, and p for one that is given as
    absent, with p the probability of presence by models that have not seen the image.
    That is 1 minus the self-confidence of confident learning (Northcutt, Jiang and
    Chuang, `Confident Learning <https://arxiv.org/abs/1911.00068>`_, JAIR 2021), for
    each label by itself.

    Args:
        probability (np.ndarray): ``(N, L)``, NaN where there is none.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        kind (str): One of :data:`KINDS`. Defaults to 'both'.

    Returns:
        np.ndarray: ``(N, L)`` from 0 to 1. NaN for unknown labels, for those that
        ``kind`` leaves out, and where there is no probability.

    Raises:
        ValueError: If shapes do not agree or there is no such kind.
    """
    if probability.shape != targets.shape:
        raise ValueError(
            'Probabilities and targets must have one shape, got '
            f'{probability.shape} and {targets.shape}.'
        )
    if kind not in KINDS:
        raise ValueError(f'kind must be one of {KINDS}, got kind={kind!r}.')
    doubted = {'both': is_known, 'extra': is_present, 'missing': is_absent}[kind]
    value = np.where(is_present(targets), 1 - probability, probability)
    return np.where(doubted(targets), value, np.nan)


def rank_entries(doubts: np.ndarray) -> np.ndarray:
    """Places of all entries that have a suspicion, the most suspicious first.

    Args:
        doubts (np.ndarray): ``(N, L)``, NaN for entries to leave out.

    Returns:
        np.ndarray: ``(K, 2)`` rows and columns. Equal ones keep the order of the
        images.
    """
    flat = doubts.ravel()
    places = np.flatnonzero(~np.isnan(flat))
    order = places[np.argsort(-flat[places], kind='stable')]
    return np.stack(np.unravel_index(order, doubts.shape), axis=1)


def change(targets: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Targets ``(N, L)`` with the opposite at places ``(K, 2)``; none is unknown."""
    rows, columns = places[:, 0], places[:, 1]
    if (targets[rows, columns] == UNKNOWN).any():
        raise ValueError('An unknown label has no opposite.')
    changed = targets.copy()
    changed[rows, columns] = PRESENT - targets[rows, columns]
    return changed
