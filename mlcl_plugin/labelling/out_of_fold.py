# SPDX-License-Identifier: Apache-2.0
"""Probabilities of labels by models that have not seen the image."""

import numpy as np
import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ..models.neighbours import ImageNeighbours, Member, Outputs, PooledLogistic

BATCH = 64
"""Images whose features are pooled at a time."""


def pool_features(path: str, member: PooledLogistic) -> Tensor:
    """Vectors ``(N, R, D)``, float16, of stored features ``(N, V, ...)``.

    Args:
        path (str): The file; its first view is taken.
        member (PooledLogistic): It says which vectors; R is 1, and the number of its
            windows.
    """
    stored = np.load(path, mmap_mode='r')
    parts = []
    with torch.no_grad():
        for start in range(0, len(stored), BATCH):
            maps = torch.from_numpy(np.array(stored[start : start + BATCH, 0]))
            # Its vectors are those of features, whatever the head.
            outputs = Outputs(torch.nn.Identity(), maps, maps)
            parts.append(member.vectors(outputs).half())
    return torch.cat(parts)


def image_vectors(path: str) -> Tensor:
    """Averages ``(N, 1, C)`` over all places of stored features ``(N, V, C, H, W)``."""
    stored = np.load(path, mmap_mode='r')
    memory = ImageNeighbours()
    parts = []
    for start in range(0, len(stored), BATCH):
        maps = torch.from_numpy(np.array(stored[start : start + BATCH, 0]))
        outputs = Outputs(torch.nn.Identity(), maps, maps)
        parts.append(memory.vectors(outputs))
    return torch.cat(parts)


def out_of_fold(
    member: Member, vectors: Tensor, targets: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Score each image by a member that is made of the images of the other folds.

    Args:
        member (Member): Nearest neighbours, or a logistic regression. It is filled
            anew for each fold.
        vectors (Tensor): ``(N, G, D)`` of all images.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        fold (np.ndarray): ``(N,)`` the fold of each image.

    Returns:
        np.ndarray: ``(N, L)`` float64, the probability that a label is present. NaN
        where the other folds have no present or no absent image of a label.
    """
    given = torch.from_numpy(targets)
    probabilities = np.full(targets.shape, np.nan)
    for number in range(int(fold.max()) + 1):
        held = torch.from_numpy(fold == number)
        if not held.any():
            continue
        own = score_by(member, vectors[~held], given[~held], vectors[held])
        probabilities[held.numpy()] = own
    return probabilities


def score_by(
    member: Member, vectors: Tensor, targets: Tensor, queries: Tensor
) -> np.ndarray:
    """Fill a member with images, and score others.

    Args:
        member (Member): Nearest neighbours, or a logistic regression.
        vectors (Tensor): ``(N, G, D)`` of the images that it is made of.
        targets (Tensor): ``(N, L)``, their labels.
        queries (Tensor): ``(B, G, D)`` of the images to score.

    Returns:
        np.ndarray: ``(B, L)`` float64, the probability of presence; NaN for labels
        without a present or an absent image.
    """
    member.clear()
    rows = torch.arange(len(vectors))
    if member.kind == 'image':
        # Windows of an image are not learned from; its first vector is the whole.
        vectors = vectors[:, :1]
    member.add(vectors.float(), targets, rows)
    member.build([str(row) for row in rows.tolist()])
    votes = [
        member(queries[start : start + BATCH].float()).present.exp()
        for start in range(0, len(queries), BATCH)
    ]
    return torch.cat(votes).double().numpy()


def make_logistic(config: dict) -> PooledLogistic:
    """Build a ``PooledLogistic`` of the views of the test alone, with its weights."""
    member = MODELS.build(dict(config, num_views=0))
    member.init_weights()
    return member
