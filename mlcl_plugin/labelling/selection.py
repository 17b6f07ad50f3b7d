# SPDX-License-Identifier: Apache-2.0
"""Orders in which photographs, or single labels of them, are worth a label."""

from typing import Any

import numpy as np

RULES = ('uncertainty', 'rare', 'diversity', 'mixed', 'clusters', 'random')
SHORTLIST = 5
"""``mixed`` chooses among so many times the photographs that are wanted."""


def entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy of a label's presence in bits, from 0 to 1; NaN stays.

    Examples:
        >>> entropy(np.array([0.5, 0.0])).tolist()
        [1.0, 0.0]
    """
    p = np.clip(probability, 0, 1)
    with np.errstate(divide='ignore', invalid='ignore'):
        terms = [np.where(q > 0, -q * np.log2(q), 0) for q in (p, 1 - p)]
    return np.where(np.isnan(probability), np.nan, terms[0] + terms[1])


def entry_values(
    probability: np.ndarray, askable: np.ndarray, rule: str, present: np.ndarray
) -> np.ndarray:
    r"""How much the answer to a single label of an image is worth.

    Args:
        probability (np.ndarray): ``(N, L)``, the probability of presence; NaN where no
            model can tell, which counts as 0.5.
        askable (np.ndarray): ``(N, L)`` bool, the labels that are unknown.
        rule (str): ``'uncertainty'`` or ``'rare'``.
        present (np.ndarray): ``(L,)`` the number of images that have each label.

    Returns:
        np.ndarray: ``(N, L)``; NaN for labels that are known. The entropy :math:`H`, or
        for ``'rare'`` :math:`H_{nl} / (c_l + 1)` with the number :math:`c_l` of images
        that have the label.

    Raises:
        ValueError: If the rule is another one.
    """
    filled = np.where(np.isnan(probability), 0.5, probability)
    if rule == 'uncertainty':
        values = entropy(filled)
    elif rule == 'rare':
        values = entropy(filled) / (present + 1)
    else:
        raise ValueError(
            "Single labels are chosen by rule='uncertainty' or rule='rare', got "
            f'rule={rule!r}.'
        )
    return np.where(askable, values, np.nan)


def by_uncertainty(probability: np.ndarray, askable: np.ndarray) -> np.ndarray:
    """The sum of the entropies of the unknown labels ``(N,)`` of each image."""
    filled = np.where(np.isnan(probability), 0.5, probability)
    return np.where(askable, entropy(filled), 0).sum(axis=1)


def order_by_rarity(
    probability: np.ndarray, askable: np.ndarray, present: np.ndarray, number: int
) -> np.ndarray:
    r"""Choose images with uncertain labels that are rare, one after the other.

    The value of an image is :math:`\sum_l H_{nl} / (c_l + 1)` over its unknown labels,
    with the entropy :math:`H_{nl}` and the number :math:`c_l` of images that have the
    label. After each choice :math:`c_l` grows by the probability of the label, so that
    the next one serves other labels.

    Args:
        probability (np.ndarray): ``(N, L)``; NaN counts as 0.5.
        askable (np.ndarray): ``(N, L)`` bool, the labels that are unknown.
        present (np.ndarray): ``(L,)`` the number of images that have each label.
        number (int): Number of images to choose, at most N.

    Returns:
        np.ndarray: Their rows, the best first.
    """
    filled = np.where(np.isnan(probability), 0.5, probability)
    doubt = entropy(filled) * askable
    counts = present.astype(np.float64).copy()
    left = np.ones(len(filled), bool)
    chosen = []
    for _ in range(min(number, len(filled))):
        values = np.where(left, doubt @ (1 / (counts + 1)), -np.inf)
        best = int(values.argmax())
        chosen.append(best)
        left[best] = False
        counts += filled[best] * askable[best]
    return np.array(chosen, np.int64)


def order_by_distance(
    vectors: np.ndarray, labelled: np.ndarray, number: int
) -> np.ndarray:
    """Choose vectors that are far from all that are labelled or chosen before.

    The greedy solution of the k-centre problem (Sener and Savarese, `Active Learning
    for Convolutional Neural Networks <https://arxiv.org/abs/1708.00489>`_, ICLR 2018).

    Args:
        vectors (np.ndarray): ``(N, D)`` of the images to choose from.
        labelled (np.ndarray): ``(M, D)`` of those that have labels. Without any, the
            first choice is the vector nearest to the mean.
        number (int): Number of images to choose, at most N.

    Returns:
        np.ndarray: Their rows, the farthest first. Distances are those of unit vectors.
    """
    own, others = _unit(vectors), _unit(labelled)
    chosen: list[int] = []
    if len(others):
        nearest = np.concatenate(
            [
                (part @ others.T).max(1)
                for part in np.array_split(own, 1 + len(own) // 512)
            ]
        )
    else:
        chosen.append(int((own @ own.mean(0)).argmax()))
        nearest = own @ own[chosen[0]]
        nearest[chosen[0]] = np.inf
    while len(chosen) < min(number, len(own)):
        best = int(nearest.argmin())
        chosen.append(best)
        nearest = np.maximum(nearest, own @ own[best])
        nearest[best] = np.inf
    return np.array(chosen[:number], np.int64)


def import_k_means() -> Any:
    """The class ``MiniBatchKMeans`` of scikit-learn.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise ImportError(
            "rule='clusters' needs scikit-learn: run `pip install scikit-learn`, or "
            'choose another rule.'
        ) from error
    return MiniBatchKMeans


def order_by_clusters(
    vectors: np.ndarray, values: np.ndarray, number: int, seed: int = 0
) -> np.ndarray:
    """Choose the most valuable vector of each of as many clusters as are wanted.

    Args:
        vectors (np.ndarray): ``(N, D)`` of the images to choose from; k-means of
            scikit-learn divides the unit vectors.
        values (np.ndarray): ``(N,)`` what each image is worth.
        number (int): Number of images to choose, at most N.
        seed (int): Seed of the clusters. Defaults to 0.

    Returns:
        np.ndarray: Their rows, the most valuable first.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    number = min(number, len(vectors))
    if number < 1:
        return np.zeros(0, np.int64)
    means = import_k_means()(number, random_state=seed, n_init=1)
    cluster = means.fit_predict(_unit(vectors))
    order = np.argsort(-values, kind='stable')
    # The first of each cluster, then the others if clusters are empty.
    _, first = np.unique(cluster[order], return_index=True)
    rest = np.delete(order, first)
    return np.concatenate([order[np.sort(first)], rest])[:number]


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def order_images(
    rule: str,
    number: int,
    *,
    probability: np.ndarray,
    askable: np.ndarray,
    present: np.ndarray,
    vectors: np.ndarray,
    labelled: np.ndarray,
    seed: int = 0,
) -> np.ndarray:
    """Choose images by a rule.

    Args:
        rule (str): One of :data:`RULES`. ``'mixed'`` takes the most uncertain ones,
            :data:`SHORTLIST` times as many as wanted, and of these the farthest;
            ``'clusters'`` the most uncertain one of each cluster.
        number (int): Number of images, at most N.
        probability (np.ndarray): ``(N, L)`` of the images to choose from.
        askable (np.ndarray): ``(N, L)`` bool, their unknown labels.
        present (np.ndarray): ``(L,)`` the number of images that have each label.
        vectors (np.ndarray): ``(N, D)``.
        labelled (np.ndarray): ``(M, D)`` vectors of images that have labels.
        seed (int): Seed of ``'random'`` and ``'clusters'``. Defaults to 0.

    Returns:
        np.ndarray: Rows of the images, the best first.

    Raises:
        ValueError: If there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f'rule must be one of {RULES}, got rule={rule!r}.')
    if rule == 'random':
        return np.random.default_rng(seed).permutation(len(vectors))[:number]
    if rule == 'rare':
        return order_by_rarity(probability, askable, present, number)
    if rule == 'diversity':
        return order_by_distance(vectors, labelled, number)
    doubt = by_uncertainty(probability, askable)
    if rule == 'clusters':
        return order_by_clusters(vectors, doubt, number, seed)
    order = np.argsort(-doubt, kind='stable')
    if rule == 'uncertainty':
        return order[:number]
    first = order[: SHORTLIST * number]
    return first[order_by_distance(vectors[first], labelled, number)]
