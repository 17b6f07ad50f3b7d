# SPDX-License-Identifier: Apache-2.0
"""How well label-wise embeddings sort images and labels, without a classifier.

An embedding belongs to an image and a label. Two questions about it have different
answers:

- *Between labels*: among the embeddings of all labels that are present, are the nearest
  ones of the same label? This is what a contrast of present labels trains.
- *Within a label*: among one label's embeddings of all images, does it lie nearer to
  those of images where the label is present than to those where it is absent? This is
  what recognition needs.

Embeddings are compared by their inner product, in float32 (float64 stays float64).
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..targets import check_targets, is_absent, is_present

# Entries of a block of similarities: 32 MB in single precision.
BLOCK_ENTRIES = 2**23


class RetrievalScores(NamedTuple):
    """Fractions from 0 to 1; nan without a query."""

    precision_at_1: float
    mean_average_precision_at_r: float


def precision_at_1(relevant: Tensor, others: Tensor) -> Tensor:
    """Tell whether the nearest neighbour of each query is a relevant one.

    If a relevant entry and another one are equally near, the other one counts as
    nearer: embeddings that have collapsed to one point find nothing.

    Args:
        relevant (Tensor): ``(Q, R)`` similarities to the relevant entries; -inf stands
            for no entry.
        others (Tensor): ``(Q, M)`` similarities to the entries that are not relevant.

    Returns:
        Tensor: ``(Q,)`` float64, 1 or 0; nan without a relevant entry.
    """
    _check_similarities(relevant, others)
    # One column more, since there may be none.
    nearest = [_pad(x).amax(dim=1) for x in (relevant, others)]
    hits = (nearest[0] > nearest[1]).double()
    return hits.where(relevant.isfinite().any(dim=1), torch.nan)


def average_precision_at_r(relevant: Tensor, others: Tensor) -> Tensor:
    r"""Compute the average precision of the first R entries, for R relevant entries.

    .. math::
        \text{AP@R} = \frac{1}{R} \sum_{i \le R,\ i\text{-th entry relevant}}
            \frac{\text{relevant among the first } i}{i}

    1 only if the R relevant entries are the R nearest. Source: `A Metric Learning
    Reality Check <https://arxiv.org/abs/2003.08505>`_, whose mAP@R is the mean over
    queries. Of equally near entries those that are not relevant rank first, as in
    :func:`precision_at_1`, so that the order of the entries does not matter.

    Args:
        relevant (Tensor): As in :func:`precision_at_1`.
        others (Tensor): As in :func:`precision_at_1`.

    Returns:
        Tensor: ``(Q,)`` float64 from 0 to 1; nan without a relevant entry.
    """
    _check_similarities(relevant, others)
    number = relevant.isfinite().sum(dim=1)
    relevant = relevant.sort(dim=1, descending=True).values
    # No more than R of the others can be among the first R.
    nearest = others.topk(min(relevant.size(1), others.size(1)), dim=1).values
    # The number of others at least as near as each relevant entry. Negative values,
    # since searchsorted needs ascending ones.
    before = torch.searchsorted(-nearest, -relevant, right=True)
    place = torch.arange(1, relevant.size(1) + 1, device=relevant.device)
    rank = place + before
    counts = (rank <= number[:, None]) & relevant.isfinite()
    precision = (place / rank.double()).where(counts, 0)
    return precision.sum(dim=1) / number.where(number > 0, torch.nan)


def retrieval_between_labels(
    embeddings: Tensor,
    labels: Tensor,
    images: Tensor,
    block_entries: int = BLOCK_ENTRIES,
) -> RetrievalScores:
    """Find embeddings of the same label among those of all labels.

    Every embedding is a query, and all others are searched, also those of other labels
    of the same image. Relevant are those of the same label in other images; those of
    the same label and image (views of it) are left out. Queries without a relevant
    entry are left out too. Both scores are means over queries, so that frequent
    labels weigh more.

    Args:
        embeddings (Tensor): ``(N, D)`` unit vectors of labels that are present.
        labels (Tensor): ``(N,)`` int64, the label of each embedding.
        images (Tensor): ``(N,)`` int64, its image.
        block_entries (int): Similarities held at once, or those of one query.
            Defaults to 2**23.

    Returns:
        RetrievalScores: Precision at 1 and mAP@R.

    Raises:
        ValueError: If the shapes disagree, an embedding is no unit vector, or
            ``block_entries`` is not positive.
    """
    embeddings = _check(embeddings, labels, images)
    results = []
    for label in labels.unique():
        same = (labels == label).nonzero()[:, 0]
        for rows in _blocks(same, len(embeddings), block_entries):
            similarity = embeddings[rows] @ embeddings.T
            relevant = similarity[:, same]
            similarity[:, same] = -torch.inf
            relevant[images[rows, None] == images[same]] = -torch.inf
            results.append(_score(relevant, similarity))
    return _mean(torch.cat(results or [embeddings.new_zeros(0, 2)]))


def retrieval_within_labels(
    embeddings: Tensor,
    labels: Tensor,
    images: Tensor,
    targets: Tensor,
    block_entries: int = BLOCK_ENTRIES,
) -> RetrievalScores:
    """Find the images that have a label by that label's embeddings.

    For each label, the queries are its embeddings in the images where it is present,
    and all other images are searched. Relevant are those where it is present, too.
    Images where it is unknown are left out, as are labels that are present in less than
    two images. Both scores are means over the queries of a label, then over labels, so
    that each label weighs the same. A label that is never absent gets 1.

    Args:
        embeddings (Tensor): ``(N, D)`` unit vectors, of all labels in all images.
        labels (Tensor): ``(N,)`` int64, the label of each embedding.
        images (Tensor): ``(N,)`` int64, its image.
        targets (Tensor): ``(N,)``, 1 where the label is present in the image, 0 absent,
            -1 unknown.
        block_entries (int): Similarities held at once, or those of one query.
            Defaults to 2**23.

    Returns:
        RetrievalScores: Precision at 1 and mAP@R.

    Raises:
        ValueError: If the shapes disagree, an embedding is no unit vector, a target is
            not 1, 0 or -1, or ``block_entries`` is not positive.
    """
    embeddings = _check(embeddings, labels, images, targets)
    results = []
    for label in labels.unique():
        of_label = labels == label
        present, absent = (
            (of_label & mask).nonzero()[:, 0]
            for mask in (is_present(targets), is_absent(targets))
        )
        gallery = [(embeddings[part], images[part]) for part in (present, absent)]
        own = []
        for rows in _blocks(present, len(present) + len(absent), block_entries):
            similarities = []
            for candidates, their_images in gallery:
                similarity = embeddings[rows] @ candidates.T
                similarity[images[rows, None] == their_images] = -torch.inf
                similarities.append(similarity)
            own.append(_score(*similarities))
        if own:
            results.append(torch.cat(own).nanmean(dim=0))
    return _mean(torch.stack(results) if results else embeddings.new_zeros(0, 2))


def alignment(embeddings: Tensor, labels: Tensor, images: Tensor) -> float:
    """Compute the mean squared distance of a label's embeddings of different images.

    0 if the embeddings of each label are equal, 2 for random directions, at most 4.
    Means are over the pairs of a label, then over labels. Source: `Wang and Isola
    <https://arxiv.org/abs/2005.10242>`_ with their exponent of 2; their positive pairs
    are views of one image.

    Args:
        embeddings (Tensor): ``(N, D)`` unit vectors of labels that are present.
        labels (Tensor): ``(N,)`` int64, the label of each embedding.
        images (Tensor): ``(N,)`` int64, its image.

    Returns:
        float: nan if no label has two images.

    Raises:
        ValueError: If the shapes disagree or an embedding is no unit vector.
    """
    embeddings = _check(embeddings, labels, images).double()
    if len(labels) == 0:
        return math.nan
    labels = labels.unique(return_inverse=True)[1]
    # All pairs of a label, without those of one image.
    pairs, distances = _pair_sums(embeddings, labels)
    both = torch.stack([labels, images]).unique(dim=1, return_inverse=True)
    inner = _pair_sums(embeddings, both[1])
    for total, part in zip((pairs, distances), inner):
        total.index_add_(0, both[0][0], -part)
    return float((distances / pairs)[pairs > 0].mean())


def uniformity(embeddings: Tensor, block_entries: int = BLOCK_ENTRIES) -> float:
    r"""Measure how evenly embeddings spread over the sphere; lower is more even.

    .. math::
        \log \frac{1}{N (N - 1)} \sum_{i \neq j} \exp(-2 \|z_i - z_j\|^2)

    0 if all are the same; random directions in many dimensions come close to -4.
    Source: `Wang and Isola <https://arxiv.org/abs/2005.10242>`_, with their factor of
    2.

    Args:
        embeddings (Tensor): ``(N, D)`` unit vectors of labels that are present.
        block_entries (int): Similarities held at once, or those of one query.
            Defaults to 2**23.

    Returns:
        float: nan with less than two embeddings.

    Raises:
        ValueError: If ``embeddings`` has another shape, one is no unit vector, or
            ``block_entries`` is not positive.
    """
    number = embeddings.new_zeros(len(embeddings), dtype=torch.long)
    embeddings = _check(embeddings, number, number)
    total = 0.0
    everyone = torch.arange(len(embeddings), device=embeddings.device)
    for rows in _blocks(everyone, len(embeddings), block_entries):
        # Of unit vectors, the squared distance is 2 - 2 s.
        kernel = (4 * (embeddings[rows] @ embeddings.T) - 4).exp()
        kernel[torch.arange(len(rows)), rows] = 0
        total += float(kernel.sum(dim=1).double().sum())
    pairs = len(embeddings) * (len(embeddings) - 1)
    return math.log(total / pairs) if pairs > 0 else math.nan


def _check_similarities(relevant: Tensor, others: Tensor) -> None:
    if relevant.ndim != 2 or others.ndim != 2 or len(relevant) != len(others):
        raise ValueError(
            'Expected similarities (Q, R) and (Q, M) of the same queries, got '
            f'{tuple(relevant.shape)} and {tuple(others.shape)}.'
        )


def _check(
    embeddings: Tensor, labels: Tensor, images: Tensor, targets: Tensor | None = None
) -> Tensor:
    """Check the arguments and convert embeddings to at least single precision."""
    given = [labels, images] + ([] if targets is None else [targets])
    if embeddings.ndim != 2 or any(x.shape != embeddings.shape[:1] for x in given):
        raise ValueError(
            'Expected embeddings (N, D) and labels, images and targets (N,), got '
            f'{[tuple(x.shape) for x in (embeddings, *given)]}.'
        )
    if embeddings.dtype in (torch.float16, torch.bfloat16):
        embeddings = embeddings.float()
    lengths = embeddings.norm(dim=1)
    # The tolerance accepts half precision. nan is refused.
    wrong = ~((lengths - 1).abs() < 0.02)
    if wrong.any():
        raise ValueError(
            f'Expected unit vectors, got one of length {float(lengths[wrong][0]):.3g}. '
            'Use torch.nn.functional.normalize(embeddings, dim=1).'
        )
    if targets is not None:
        check_targets(targets, name='targets')
    return embeddings


def _blocks(rows: Tensor, width: int, block_entries: int) -> Iterator[Tensor]:
    """Split ``rows`` into parts of at most ``block_entries`` entries, or one row."""
    if block_entries < 1:
        raise ValueError(f'block_entries must be positive, got {block_entries}.')
    # `split` would make one empty part of no rows.
    size = max(block_entries // max(width, 1), 1)
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _pad(similarity: Tensor) -> Tensor:
    column = similarity.new_full((len(similarity), 1), -torch.inf)
    return torch.cat([similarity, column], dim=1)


def _score(relevant: Tensor, others: Tensor) -> Tensor:
    """Compute both scores of each query, ``(Q, 2)``."""
    scores = (
        precision_at_1(relevant, others),
        average_precision_at_r(relevant, others),
    )
    return torch.stack(scores, dim=1)


def _mean(scores: Tensor) -> RetrievalScores:
    return RetrievalScores(*scores.nanmean(dim=0).tolist())


def _pair_sums(embeddings: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Count the pairs in each group and sum their squared distances.

    Over the pairs of n vectors the sum is n times the sum of their squared lengths,
    minus the squared length of their sum.
    """
    number = int(groups.max()) + 1
    sizes = embeddings.new_zeros(number).index_add_(
        0, groups, torch.ones_like(embeddings[:, 0])
    )
    squares = embeddings.new_zeros(number).index_add_(
        0, groups, embeddings.square().sum(dim=1)
    )
    sums = embeddings.new_zeros(number, embeddings.size(1))
    sums.index_add_(0, groups, embeddings)
    distances = sizes * squares - sums.square().sum(dim=1)
    return sizes * (sizes - 1) / 2, distances.clamp(min=0)
