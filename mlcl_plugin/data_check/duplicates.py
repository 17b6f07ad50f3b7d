# SPDX-License-Identifier: Apache-2.0
"""Find image files of the same bytes, within a split and across splits."""

import itertools
from collections.abc import Sequence

import numpy as np

from .findings import MAX_NAMED, Finding, count_text
from .split_report import SplitReport

MAX_COPIES = 5
"""Largest number of copies of one image that are named."""
WITHIN, ACROSS = 'duplicates within a split', 'duplicates across splits'
Group = list[int]


def duplicate_groups(digests: np.ndarray) -> list[np.ndarray]:
    """Find rows that are equal.

    Args:
        digests (np.ndarray): ``(N, 2)``.

    Returns:
        list[np.ndarray]: Indices of the rows of each group of two or more, ascending.
    """
    if len(digests) == 0:
        return []
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    starts = np.flatnonzero(np.any(ordered[1:] != ordered[:-1], axis=1)) + 1
    starts = np.concatenate([[0], starts, [len(order)]])
    groups = [
        np.sort(order[starts[i] : starts[i + 1]])
        for i in np.flatnonzero(np.diff(starts) > 1)
    ]
    return sorted(groups, key=lambda group: int(group[0]))


def find_duplicates(splits: Sequence[SplitReport]) -> list[Finding]:
    """Find files of the same bytes.

    Args:
        splits (Sequence[SplitReport]): All splits that were read.

    Returns:
        list[Finding]: Warnings, first those of single splits, then those of pairs.
    """
    if not splits:
        return []
    # Split and row of all files that were read.
    owners = np.concatenate(
        [np.full(split.num_images, i) for i, split in enumerate(splits)]
    )
    rows = np.concatenate([np.arange(split.num_images) for split in splits])
    read = np.concatenate([split.has_digest for split in splits])
    digests = np.concatenate([split.digests for split in splits])[read]
    owners, rows = owners[read], rows[read]
    pairs = itertools.combinations(range(len(splits)), 2)
    within: dict[int, list[Group]] = {i: [] for i in range(len(splits))}
    across: dict[tuple[int, int], list[tuple[Group, Group]]] = {p: [] for p in pairs}
    for group in duplicate_groups(digests):
        members: dict[int, Group] = {}
        for number in group:
            members.setdefault(int(owners[number]), []).append(int(rows[number]))
        for owner, images in members.items():
            if len(images) > 1:
                within[owner].append(images)
        for left, right in itertools.combinations(sorted(members), 2):
            across[left, right].append((members[left], members[right]))
    return [
        *(_within(splits[i], groups) for i, groups in within.items() if groups),
        *(
            _across(splits[left], splits[right], groups)
            for (left, right), groups in across.items()
            if groups
        ),
    ]


def _within(split: SplitReport, groups: list[Group]) -> Finding:
    differ = [_labels_differ(split, images) for images in groups]
    copies = sum(map(len, groups)) - len(groups)
    message = (
        f'{count_text(copies, split.num_images, "image")} a copy of another (same '
        f'bytes). Images with copies: {len(groups):,}'
    )
    if any(differ):
        message += f', with different labels: {sum(differ):,}'
    examples = []
    for images, other in itertools.islice(zip(groups, differ), MAX_NAMED):
        example = ' = '.join(map(split.images.path, images[:MAX_COPIES]))
        if len(images) > MAX_COPIES:
            example += f' and {len(images) - MAX_COPIES:,} more'
        examples.append(example + (' (different labels)' if other else ''))
    return Finding(
        'warning', WITHIN, split.names, f'{message}.', len(groups), tuple(examples)
    )


def _across(
    first: SplitReport, second: SplitReport, groups: list[tuple[Group, Group]]
) -> Finding:
    number = sum(len(images) for _, images in groups)
    examples = [
        f'{first.images.path(ours[0])} = {second.images.path(theirs[0])}'
        for ours, theirs in groups[:MAX_NAMED]
    ]
    return Finding(
        'warning',
        ACROSS,
        (first.name, second.name),
        f'{number:,} of the {second.num_images:,} images of {second.name} '
        f'{"is" if number == 1 else "are"} in {first.name}, too (same bytes): results '
        'on them tell nothing about new images.',
        len(groups),
        tuple(examples),
    )


def _labels_differ(split: SplitReport, images: Group) -> bool:
    """Whether copies of an image have different present labels."""
    indptr, columns = split.labels.indptr, split.labels.indices
    sets = {tuple(columns[indptr[i] : indptr[i + 1]].tolist()) for i in images}
    return len(sets) > 1
