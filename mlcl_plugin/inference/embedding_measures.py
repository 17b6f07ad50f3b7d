# SPDX-License-Identifier: Apache-2.0
"""Measures of the embeddings of labels: retrieval, a linear probe, few shots."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..evaluation import (
    alignment,
    average_precision,
    retrieval_between_labels,
    retrieval_within_labels,
    uniformity,
)
from ..targets import ABSENT, PRESENT, is_known
from .label_embeddings import Embeddings


def linear_probe(embeddings: Tensor, targets: Tensor, train: Tensor) -> float:
    """Compute the AP of a logistic regression on one label's embeddings.

    Args:
        embeddings (Tensor): ``(N, D)``.
        targets (Tensor): ``(N,)``, 1 present, 0 absent, -1 unknown.
        train (Tensor): ``(N,)`` bool, the images to learn from; the others are scored.

    Returns:
        float: nan if the label is not both present and absent among the training
        images, or not present among the others.
    """
    known = train & is_known(targets)
    if len(targets[known].unique()) < 2:
        return math.nan
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError(
            'The linear probe needs scikit-learn: run `pip install scikit-learn`.'
        ) from error

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(embeddings[known].numpy(), targets[known].numpy())
    scores = model.decision_function(embeddings[~train].numpy())
    return _ap(torch.from_numpy(scores), targets[~train])


def few_shot(
    embeddings: Tensor,
    targets: Tensor,
    train: Tensor,
    shots: int,
    generator: torch.Generator,
) -> float:
    """Compute the AP of a classifier by the nearer of two centroids.

    The centroids are the means of ``shots`` embeddings of images with the label and of
    as many without it, drawn at random. The score is the difference of the squared
    distances to the two centroids. The centroids are not normalized: the mean of images
    that have nothing in common is short, and its direction is noise.

    Args:
        embeddings (Tensor): ``(N, D)`` unit vectors.
        targets (Tensor): ``(N,)``, 1 present, 0 absent, -1 unknown.
        train (Tensor): ``(N,)`` bool, the images to draw from; the others are scored.
        shots (int): Number of images of each kind.
        generator (torch.Generator): Draws.

    Returns:
        float: nan if there are too few images to draw, or the label is not present
        among the others.
    """
    centroids = []
    for value in (PRESENT, ABSENT):
        pool = (train & (targets == value)).nonzero()[:, 0]
        if len(pool) < shots:
            return math.nan
        drawn = pool[torch.randperm(len(pool), generator=generator)[:shots]]
        centroids.append(embeddings[drawn].mean(dim=0))
    # The difference of the squared distances, up to a factor and a constant.
    scores = embeddings[~train] @ (centroids[0] - centroids[1])
    return _ap(scores, targets[~train])


def _ap(scores: Tensor, targets: Tensor) -> float:
    return float(average_precision(scores[:, None], targets[:, None])[0])


def measure_embeddings(
    embeddings: Embeddings, shots: Sequence[int], repeats: int, seed: int
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Compute all measures, in percent except for alignment and uniformity.

    Args:
        embeddings (Embeddings): What to measure.
        shots (Sequence[int]): Numbers of shots.
        repeats (int): Draws of shots, whose mean is taken.
        seed (int): Seed of the split of the images into halves, and of the draws.

    Returns:
        tuple[dict, list[dict]]: The values of all labels together, and those of each
        label. A measure of each label has as common value the mean over the labels for
        which it is not nan.
    """
    generator = torch.Generator().manual_seed(seed)
    number = len(embeddings.targets)
    train = torch.zeros(number, dtype=torch.bool)
    train[torch.randperm(number, generator=generator)[: number // 2]] = True
    images = torch.arange(number)
    zeros = torch.zeros_like(images)
    classwise = []
    # Label by label: labels that share an embedding are not told apart within a label.
    for label, targets in enumerate(embeddings.targets.T):
        own = embeddings.of_label(label)
        within = retrieval_within_labels(own, zeros, images, targets)
        values = {
            'within/P@1': within.precision_at_1,
            'within/mAP@R': within.mean_average_precision_at_r,
            'linear_probe/mAP': linear_probe(own, targets, train),
        }
        for k in shots:
            draws = [
                few_shot(own, targets, train, k, generator) for _ in range(repeats)
            ]
            values[f'{k}-shot/mAP'] = sum(draws) / repeats
        classwise.append({key: 100 * value for key, value in values.items()})
    present = embeddings.of_present()
    between = retrieval_between_labels(*present)
    overall = {
        'between/P@1': 100 * between.precision_at_1,
        'between/mAP@R': 100 * between.mean_average_precision_at_r,
        'alignment': alignment(*present),
        'uniformity': uniformity(present[0]),
    }
    for key in classwise[0]:
        of_labels = torch.tensor([values[key] for values in classwise])
        overall[key] = of_labels.nanmean().item()
    return overall, classwise


def format_values(values: Mapping[str, float]) -> str:
    """Write values as lines of names and numbers.

    Examples:
        >>> print(format_values({'within/P@1': 50.0, 'uniformity': -1.25}))
        within/P@1    50.000
        uniformity    -1.250
    """
    width = max(map(len, values))
    return '\n'.join(f'{key:<{width}}  {value:8.3f}' for key, value in values.items())


def values_for_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """Round values to four decimals; nan becomes None, since JSON has no nan."""
    return {k: None if math.isnan(v) else round(v, 4) for k, v in values.items()}
