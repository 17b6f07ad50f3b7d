# SPDX-License-Identifier: Apache-2.0
"""Divide groups of images, such as those of one patient, event or camera."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from ..plain_text import list_some
from ..targets import is_present
from .stratified_split import StratifiedSplit, check_shares, columns_to_balance

MAX_SWEEPS = 50
"""Largest number of times that all groups are looked at to be moved."""


def grouped_split(
    targets: csr_array,
    classes: Sequence[str],
    shares: Mapping[str, float],
    groups: Sequence[str],
    seed: int = 0,
) -> StratifiedSplit:
    """Divide images by iterative stratification, groups whole.

    Iterative stratification of Sechidis et al., see :func:`stratified_split`, with
    groups in place of images: the groups of the rarest label first, those with most of
    it before the others, each into the part that lacks most of this label, or of images
    where several lack the same. Since a group has many labels, single groups are then
    moved to other parts as long as that lessens the squared deviations of all labels
    and of the numbers of images from their shares. The paper has no such step.

    Args:
        targets (csr_array): ``(N, L)`` in {1, 0, -1}.
        classes (Sequence[str]): L names.
        shares (Mapping[str, float]): The share of the images for each part, by name.
            The sum is 1.
        groups (Sequence[str]): N names of groups.
        seed (int): Seed of the order of equal groups. Defaults to 0.

    Returns:
        StratifiedSplit: The parts, none empty. Large groups make their sizes differ
        from the shares.

    Raises:
        ValueError: If shares are wrong, see :func:`stratified_split`, or there are
            fewer groups than parts.
    """
    check_shares(shares)
    if len(groups) != targets.shape[0]:
        raise ValueError(
            f'groups must have {targets.shape[0]} names, one per image, got '
            f'{len(groups)}.'
        )
    names, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    parts = list(shares)
    if len(names) < len(parts):
        raise ValueError(
            f'The images have {len(names)} group{"" if len(names) == 1 else "s"} '
            f'({list_some(names.tolist())}), which is fewer than the {len(parts)} '
            f'parts {", ".join(parts)}: a group is not divided. Name a column with '
            'more groups, or ask for fewer parts.'
        )
    columns = np.column_stack([np.ones(len(members)), columns_to_balance(targets)])
    counts = np.zeros((len(names), columns.shape[1]))
    np.add.at(counts, members, columns)
    chosen = _assign(counts, np.array(list(shares.values())), seed)
    _fill_empty(chosen, counts[:, 0], len(parts))
    _improve(chosen, counts, np.array(list(shares.values())))
    found = {part: np.flatnonzero(chosen[members] == i) for i, part in enumerate(parts)}
    present = {
        part: np.asarray(is_present(targets[images]).sum(axis=0))
        .ravel()
        .astype(np.int64)
        for part, images in found.items()
    }
    return StratifiedSplit(found, dict(shares), present, tuple(classes))


def _assign(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Choose a part for each group.

    Args:
        counts (np.ndarray): ``(G, C)`` images of each group, in the first column all,
            in the others those with a label.
        shares (np.ndarray): ``(P,)``.
        seed (int): Seed of the order of equal groups.

    Returns:
        np.ndarray: ``(G,)`` indices of parts.
    """
    left = counts.sum(axis=0)
    lacking = shares[:, None] * left
    order = np.random.default_rng(seed).permutation(len(counts))
    free = np.ones(len(counts), dtype=bool)
    chosen = np.zeros(len(counts), dtype=np.int64)
    while free.any():
        # Images without a label come last, by their number.
        labels = np.flatnonzero(left[1:] > 0) + 1
        label = int(labels[np.argmin(left[labels])]) if len(labels) else 0
        waiting = order[free[order] & (counts[order, label] > 0)]
        for group in waiting[np.argsort(-counts[waiting, label], kind='stable')]:
            part = np.lexsort((lacking[:, 0], lacking[:, label]))[-1]
            chosen[group], free[group] = part, False
            lacking[part] -= counts[group]
            left -= counts[group]
    return chosen


def _fill_empty(chosen: np.ndarray, sizes: np.ndarray, parts: int) -> None:
    """Give each empty part the smallest group of the part with most groups."""
    for part in range(parts):
        if not (chosen == part).any():
            numbers = np.bincount(chosen, minlength=parts)
            donors = np.flatnonzero(chosen == np.argmax(numbers))
            chosen[donors[np.argmin(sizes[donors])]] = part


def _improve(chosen: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> None:
    """Move groups while that brings the parts closer to their shares.

    The cost is the sum of ((got - wanted) / total)² over parts and columns. The number
    of images weighs as much as all labels together. No part becomes empty.

    Args:
        chosen (np.ndarray): ``(G,)`` indices of parts, changed in place.
        counts (np.ndarray): ``(G, C)``, see :func:`_assign`.
        shares (np.ndarray): ``(P,)``.
    """
    totals = counts.sum(axis=0)
    weights = np.ones(len(totals))
    weights[0] = max(1, (totals[1:] > 0).sum())
    portions = counts / np.maximum(totals, 1) * np.sqrt(weights)
    wanted = shares[:, None] * (totals > 0) * np.sqrt(weights)
    excess = np.stack([portions[chosen == p].sum(axis=0) for p in range(len(shares))])
    excess -= wanted
    members = np.bincount(chosen, minlength=len(shares))
    for _ in range(MAX_SWEEPS):
        moved = False
        for group, portion in enumerate(portions):
            part = chosen[group]
            if members[part] == 1:
                continue
            # Half the change of the cost if the group moves from its part to each.
            change = excess @ portion
            change += portion @ portion - change[part]
            change[part] = 0
            best = int(np.argmin(change))
            if change[best] < -1e-9:
                excess[part] -= portion
                excess[best] += portion
                members[part] -= 1
                members[best] += 1
                chosen[group], moved = best, True
        if not moved:
            break
