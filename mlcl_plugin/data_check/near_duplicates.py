# SPDX-License-Identifier: Apache-2.0
"""Find pictures of the same content in files of other bytes."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..targets import is_present, is_unknown
from .findings import MAX_NAMED, Finding
from .picture_hash import SIDE, compare_pictures, flip_hashes
from .split_report import SplitReport

NEAR_WITHIN = 'near duplicates within a split'
NEAR_ACROSS = 'near duplicates across splits'
NEAR_DUPLICATES = ('none', 'upright', 'flipped')
SIMILAR = 0.75
"""Least cosine similarity of two hashes whose pictures are compared."""
SAME = 0.5
"""Least correlation of details of two pictures that count as near duplicates."""
MAX_CANDIDATES = 20_000
"""Largest number of pairs of pictures that are compared, the most similar ones."""
MAX_IMAGES = 200_000
"""Largest number of different images whose hashes are compared, all with all."""
TILE = 2048


class NearPair(NamedTuple):
    """Two images of nearly the same content.

    Attributes:
        splits (tuple[int, int]): Indices of their splits, ascending.
        images (tuple[int, int]): Their indices in these splits.
        correlation (float): How well their details agree, at most 1.
        flipped (bool): Whether one is the mirror image of the other.
        labels_differ (bool): Whether a label that is known in both is present in one
            only.
    """

    splits: tuple[int, int]
    images: tuple[int, int]
    correlation: float
    flipped: bool
    labels_differ: bool


def similar_pairs(
    hashes: np.ndarray,
    least: float = SIMILAR,
    flipped: bool = False,
    most: int = MAX_CANDIDATES,
    contents: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Find pairs of similar hashes.

    All pairs are compared, by products of matrices: N hashes take 63 N² operations and
    little memory.

    Args:
        hashes (np.ndarray): ``(N, 63)`` of length 1, or 0 for rows without a partner.
        least (float): Least cosine similarity. Defaults to :data:`SIMILAR`.
        flipped (bool): Whether to compare hashes with those of mirrored pictures.
            Defaults to False.
        most (int): Largest number of pairs to return, the most similar ones. Defaults
            to :data:`MAX_CANDIDATES`.
        contents (np.ndarray, optional): ``(N,)``. Rows with the same number are no
            pair. Defaults to None: all rows differ.

    Returns:
        tuple[np.ndarray, np.ndarray, int]: Pairs ``(P, 2)``, the smaller index first,
        the most similar first; their similarities ``(P,)``; and how many pairs there
        are in all.
    """
    left = np.asarray(hashes, dtype=np.float32)
    right = flip_hashes(left) if flipped else left
    pairs, values = np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.float32)
    total = 0
    if contents is None:
        contents = np.arange(len(left))
    for tile_pairs, tile_values in _tiles(left, right, least, contents):
        total += len(tile_values)
        pairs = np.concatenate([pairs, tile_pairs])
        values = np.concatenate([values, tile_values])
        if len(values) > 4 * most:
            kept = np.argpartition(-values, most)[:most]
            pairs, values = pairs[kept], values[kept]
    # Ties go by index, so that the order is always the same.
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -values))[:most]
    return pairs[order], values[order], total


def _tiles(
    left: np.ndarray, right: np.ndarray, least: float, contents: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs above the diagonal and their similarities, by blocks of the matrix.

    Rows of the same content are left out.
    """
    for top in range(0, len(left), TILE):
        for start in range(top, len(left), TILE):
            values = left[top : top + TILE] @ right[start : start + TILE].T
            found = np.flatnonzero(values > least)
            rows, columns = np.divmod(found, values.shape[1])
            rows, columns = rows + top, columns + start
            kept = (rows < columns) & (contents[rows] != contents[columns])
            yield (
                np.stack([rows[kept], columns[kept]], axis=1),
                values.ravel()[found[kept]],
            )


def find_near_duplicates(
    splits: Sequence[SplitReport], flipped: bool = False
) -> tuple[list[NearPair], list[Finding]]:
    """Find images of nearly the same content: resized, compressed or cropped a little.

    Files of the same bytes are no such pairs; :func:`find_duplicates` reports them.
    The time grows with the square of the number of images. Nothing is looked for, and a
    warning says so, if there are more than :data:`MAX_IMAGES`.

    Args:
        splits (Sequence[SplitReport]): All splits that were read.
        flipped (bool): Whether to look for mirrored images, too. Defaults to False.

    Returns:
        tuple[list[NearPair], list[Finding]]: The pairs, the surest first, and warnings,
        first those of single splits, then those of pairs of splits.
    """
    if not splits:
        return [], []
    owners, rows, contents, hashes = _unique(splits)
    if len(hashes) > MAX_IMAGES:
        return [], [_skipped(splits, len(hashes))]

    @functools.lru_cache(maxsize=4096)
    def small(place: int) -> np.ndarray | None:
        image = splits[owners[place]].images.picture(int(rows[place]))
        if image is None:
            return None
        size = (SIDE, SIDE)
        return cv2.resize(
            np.ascontiguousarray(image[..., ::-1]), size, interpolation=cv2.INTER_AREA
        )

    pairs: dict[tuple[int, int], NearPair] = {}
    findings = []
    for mirror in (False, True) if flipped else (False,):
        found, _, total = similar_pairs(hashes, flipped=mirror, contents=contents)
        if total > len(found):
            findings.append(_too_many(splits, total, len(found)))
        # In the order of places, the pictures of neighbours are still in memory.
        for first, second in sorted(map(tuple, found.tolist())):
            correlation = _compare(small, first, second, mirror)
            known = pairs.get((first, second))
            if correlation < SAME or (known and known.correlation >= correlation):
                continue
            owner = int(owners[first]), int(owners[second])
            row = int(rows[first]), int(rows[second])
            pairs[first, second] = NearPair(
                *(owner, row, correlation, mirror),
                _labels_differ([splits[i] for i in owner], row),
            )
    ordered = sorted(pairs.values(), key=lambda pair: (-pair.correlation, pair[:2]))
    return ordered, [*_report(splits, ordered), *findings]


def _unique(
    splits: Sequence[SplitReport],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split, row, number of the content, and hash; once per split and content."""
    owners = np.concatenate(
        [np.full(split.num_images, i) for i, split in enumerate(splits)]
    )
    rows = np.concatenate([np.arange(split.num_images) for split in splits])
    digests = np.concatenate([split.digests for split in splits])
    hashes = np.concatenate([split.hashes for split in splits])
    _, contents = np.unique(digests, axis=0, return_inverse=True)
    contents = contents.ravel()
    keys = np.column_stack([owners, contents])
    _, first = np.unique(keys, axis=0, return_index=True)
    first = np.sort(first[np.any(hashes[first] != 0, axis=1)])
    return owners[first], rows[first], contents[first], hashes[first]


def _compare(
    small: Callable[[int], np.ndarray | None], first: int, second: int, mirror: bool
) -> float:
    """Correlation of the details of two pictures; 0 if one cannot be read again."""
    left, right = small(first), small(second)
    if left is None or right is None:
        return 0.0
    return compare_pictures(left, right[:, ::-1] if mirror else right)


def _labels_differ(splits: Sequence[SplitReport], images: tuple[int, int]) -> bool:
    """Whether a label that is known in two images is present in one only."""
    one, other = (split.images.targets(i) for split, i in zip(splits, images))
    if one is None or other is None or splits[0].classes != splits[1].classes:
        return False
    known = ~(is_unknown(one) | is_unknown(other))
    return bool(np.any(known & (is_present(one) != is_present(other))))


def _report(
    splits: Sequence[SplitReport], pairs: Sequence[NearPair]
) -> Iterator[Finding]:
    """A warning for each split and each two splits with such pairs."""
    places = sorted(
        itertools.combinations_with_replacement(range(len(splits)), 2),
        key=lambda place: place[0] != place[1],
    )
    for left, right in places:
        chosen = [pair for pair in pairs if pair.splits == (left, right)]
        if not chosen:
            continue
        first, second = splits[left], splits[right]
        differ = sum(pair.labels_differ for pair in chosen)
        labels = f', {differ:,} of them with different labels' if differ else ''
        number = f'{len(chosen):,} pair{"" if len(chosen) == 1 else "s"}'
        if left == right:
            kind, names = NEAR_WITHIN, first.names
            images = {image for pair in chosen for image in pair.images}
            message = (
                f'{len(images):,} of {first.num_images:,} images look like another '
                f'one, in {number}{labels}.'
            )
        else:
            kind, names = NEAR_ACROSS, (first.name, second.name)
            images = {pair.images[1] for pair in chosen}
            message = (
                f'{len(images):,} of the {second.num_images:,} images of {second.name} '
                f'look like one of {first.name}, in {number}{labels}: results on them '
                'tell little about new images.'
            )
        examples = tuple(describe_pair(splits, pair) for pair in chosen[:MAX_NAMED])
        yield Finding('warning', kind, names, message, len(chosen), examples)


def describe_pair(splits: Sequence[SplitReport], pair: NearPair) -> str:
    """Name the two images of a pair, and how much they agree."""
    first, second = (
        splits[split].images.path(image)
        for split, image in zip(pair.splits, pair.images)
    )
    mirror = ', mirrored' if pair.flipped else ''
    labels = ', different labels' if pair.labels_differ else ''
    return f'{first} ~ {second} ({pair.correlation:.2f}{mirror}{labels})'


def _skipped(splits: Sequence[SplitReport], images: int) -> Finding:
    return Finding(
        'warning',
        NEAR_WITHIN,
        tuple(split.name for split in splits),
        f'Near duplicates were not looked for: there are {images:,} different images, '
        f'more than the {MAX_IMAGES:,} that are compared all with all. Check a part of '
        'them, with indices of the data sets.',
    )


def _too_many(splits: Sequence[SplitReport], total: int, compared: int) -> Finding:
    names = tuple(split.name for split in splits)
    return Finding(
        'warning',
        NEAR_WITHIN,
        names,
        f'{total:,} pairs of images look alike from afar; only the most similar '
        f'{compared:,} were compared in detail, so there may be more near duplicates.',
        total,
    )
