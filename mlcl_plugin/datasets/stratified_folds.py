# SPDX-License-Identifier: Apache-2.0
"""Divide images into folds that have their share of every label."""

import numpy as np
from scipy.sparse import csr_array

from .grouped_split import grouped_split
from .stratified_split import MISSING, columns_to_balance


def stratified_folds(
    targets: csr_array,
    num_folds: int,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Divide images into folds by iterative stratification.

    As :func:`stratified_split`, for cross-validation; with groups as
    :func:`grouped_split`, with equal shares.

    Args:
        targets (csr_array): ``(N, L)`` in {1, 0, -1}.
        num_folds (int): Number of folds.
        seed (int): Seed of the random order and of ties. Defaults to 0.
        groups (np.ndarray, optional): ``(N,)`` images of the same value are in one
            fold. Defaults to None.

    Returns:
        np.ndarray: ``(N,)`` the number of each image's fold, from 0.

    Raises:
        ImportError: If iterative-stratification is missing; groups do not need it.
        ValueError: If there are fewer than two folds, or fewer images or groups than
            folds.
    """
    what = 'image' if groups is None else 'group'
    number = targets.shape[0] if groups is None else len(np.unique(groups))
    if number < 2:
        raise ValueError(
            f'The data has {number} {what}{"" if number == 1 else "s"}, but folds need '
            f'2 {what}s or more: those of one fold are judged by the others.'
        )
    if not 2 <= num_folds <= number:
        raise ValueError(
            f'Expected from 2 to {number:,} folds, the number of {what}s, got '
            f'num_folds={num_folds}.'
        )
    fold = np.full(targets.shape[0], -1)
    if groups is not None:
        shares = {str(part): 1 / num_folds for part in range(num_folds)}
        classes = [str(label) for label in range(targets.shape[1])]
        names = [str(group) for group in groups]
        split = grouped_split(targets, classes, shares, names, seed)
        for part, rows in enumerate(split.parts.values()):
            fold[rows] = part
        return fold
    try:
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
    except ImportError as error:
        raise ImportError(MISSING) from error

    columns = columns_to_balance(targets)
    splitter = MultilabelStratifiedKFold(num_folds, shuffle=True, random_state=seed)
    for part, (_, held) in enumerate(splitter.split(columns, columns)):
        fold[held] = part
    return fold
