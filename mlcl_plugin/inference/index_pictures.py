# SPDX-License-Identifier: Apache-2.0
"""Pictures of an index: neighbours, a map, the similarity of prototypes."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from ..plain_text import printable
from ..reports.page.thumbnails import read_thumbnail
from ..visualization.embedding_map import embedding_map
from ..visualization.neighbour_sheet import Neighbour, neighbour_sheet
from ..visualization.prototype_similarity import prototype_similarity
from .label_index import LabelIndex, Match

METHODS = ('tsne', 'pca')


def draw_neighbours(
    photo: str | PathLike, label: str, matches: Sequence[Match]
) -> Figure:
    """Draw a photograph and those that were found for it.

    Args:
        photo (str | PathLike): The photograph.
        label (str): The label.
        matches (Sequence[Match]): See :func:`query_index`.

    Returns:
        Figure: See :func:`neighbour_sheet`.
    """
    return neighbour_sheet(
        read_thumbnail(Path(photo)),
        printable(Path(photo).name),
        printable(label),
        [
            Neighbour(
                read_thumbnail(Path(match.image)),
                printable(Path(match.image).name),
                match.similarity,
                match.present,
            )
            for match in matches
        ],
    )


def draw_map(
    index: LabelIndex,
    max_points: int = 3000,
    max_labels: int = 20,
    method: str = 'tsne',
    thr: float = 0.5,
    seed: int = 0,
) -> Figure:
    """Draw the embeddings of labels that are present as a map.

    Args:
        index (LabelIndex): The index.
        max_points (int): Largest number of embeddings; a random part of more.
            Defaults to 3000.
        max_labels (int): Largest number of labels that are named. Defaults to 20.
        method (str): ``'tsne'``, by scikit-learn, or ``'pca'``. Defaults to ``'tsne'``.
        thr (float): See :meth:`LabelIndex.having`. Defaults to 0.5.
        seed (int): Seed of the draw and of t-SNE. Defaults to 0.

    Returns:
        Figure: See :func:`embedding_map`.

    Raises:
        ImportError: If scikit-learn is not installed, for t-SNE.
        ValueError: If there is no such method, or labels share one embedding, or none
            is present.
    """
    vectors, labels = present_vectors(index, max_points, thr, seed)
    points = reduce_to_plane(vectors, method, seed)
    names = dict(tsne='t-SNE', pca='principal axes')
    return embedding_map(
        points,
        labels,
        [printable(name) for name in index.classes],
        f'Label-wise embeddings, {names[method]}',
        max_labels,
    )


def draw_prototypes(
    index: LabelIndex, max_labels: int = 80, thr: float = 0.5
) -> Figure:
    """Draw the similarity of the prototypes of labels.

    Args:
        index (LabelIndex): The index.
        max_labels (int): Largest number of labels, the most frequent ones. Defaults to
            80.
        thr (float): See :meth:`LabelIndex.having`. Defaults to 0.5.

    Returns:
        Figure: See :func:`prototype_similarity`.

    Raises:
        ValueError: If labels share one embedding, or none is present.
    """
    prototypes, labels = label_prototypes(index, max_labels, thr)
    left_out = len(index.classes) - len(labels)
    note = 'cosine of the mean embeddings of present labels'
    if left_out:
        note += f'; {left_out} of {len(index.classes)} labels are left out'
    return prototype_similarity(
        (prototypes @ prototypes.T).numpy(),
        [printable(index.classes[label]) for label in labels],
        'Similarity of labels',
        note,
    )


def present_vectors(
    index: LabelIndex, max_points: int, thr: float = 0.5, seed: int = 0
) -> tuple[Tensor, np.ndarray]:
    """Take embeddings of labels that are present.

    Returns:
        tuple[Tensor, np.ndarray]: Unit vectors ``(n, D)``, and their labels ``(n,)``.

    Raises:
        ValueError: If labels share one embedding, or none is present.
    """
    _check_label_wise(index)
    pairs = np.concatenate(
        [
            np.stack([places, np.full(len(places), label)], axis=1)
            for label, name in enumerate(index.classes)
            for places in [np.flatnonzero(index.having(name, thr))]
        ]
    )
    if len(pairs) == 0:
        raise ValueError(
            f'No label is present in any of {len(index.images):,} photographs, at '
            f'thr={thr}.'
        )
    if len(pairs) > max_points:
        chosen = np.random.default_rng(seed).permutation(len(pairs))[:max_points]
        pairs = pairs[np.sort(chosen)]
    vectors = [
        index.vectors(name, pairs[pairs[:, 1] == label, 0])
        for label, name in enumerate(index.classes)
    ]
    return torch.cat(vectors), np.sort(pairs[:, 1])


def label_prototypes(
    index: LabelIndex, max_labels: int, thr: float = 0.5
) -> tuple[Tensor, list[int]]:
    """Compute the mean direction of each label where it is present.

    Returns:
        tuple[Tensor, list[int]]: Unit vectors ``(l, D)``, and their labels.

    Raises:
        ValueError: If labels share one embedding, or none is present.
    """
    _check_label_wise(index)
    places = [np.flatnonzero(index.having(name, thr)) for name in index.classes]
    counts = np.array([len(own) for own in places])
    order = np.argsort(-counts, kind='stable')[:max_labels]
    labels = sorted(int(label) for label in order if counts[label])
    if not labels:
        raise ValueError(
            f'No label is present in any of {len(index.images):,} photographs, at '
            f'thr={thr}.'
        )
    means = [
        index.vectors(index.classes[label], places[label]).mean(dim=0)
        for label in labels
    ]
    return F.normalize(torch.stack(means), dim=1), labels


def reduce_to_plane(vectors: Tensor, method: str = 'tsne', seed: int = 0) -> np.ndarray:
    """Bring vectors ``(n, D)`` to two dimensions, ``(n, 2)``.

    t-SNE (`van der Maaten and Hinton, JMLR 2008
    <https://jmlr.org/papers/v9/vandermaaten08a.html>`_) keeps neighbours together; its
    distances between groups say little.

    Args:
        vectors (Tensor): ``(n, D)``.
        method (str): One of :data:`METHODS`. Defaults to ``'tsne'``.
        seed (int): Seed of t-SNE. Defaults to 0.

    Raises:
        ImportError: If scikit-learn is not installed, for t-SNE.
        ValueError: If there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f'method must be one of {METHODS}, got {method!r}.')
    if method == 'tsne' and len(vectors) > 3:
        try:
            from sklearn.manifold import TSNE
        except ImportError as error:
            raise ImportError(
                'A map by t-SNE needs scikit-learn: run `pip install scikit-learn`, or '
                "use method='pca'."
            ) from error
        model = TSNE(
            perplexity=min(30, (len(vectors) - 1) / 3), init='pca', random_state=seed
        )
        return model.fit_transform(vectors.numpy())
    centred = (vectors - vectors.mean(dim=0)).double()
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is arbitrary: its largest entry is positive.
    axes = axes[:2]
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    points = (centred @ axes.T).numpy()
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


def _check_label_wise(index: LabelIndex) -> None:
    if len(set(index.columns)) < 2 <= len(index.classes):
        raise ValueError(
            'The model has one embedding for the whole image, so that labels cannot be '
            'told apart. Use a model with a LabelNeck.'
        )
