# SPDX-License-Identifier: Apache-2.0
"""Weights of a blend of several scores."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..targets import is_present
from .functional import average_precision


def choose_weights(
    scores: Sequence[Tensor], targets: Tensor, steps: int = 10
) -> tuple[tuple[float, ...], float]:
    """Choose the weights of a mean of scores that give the highest mAP.

    The images must not be those that made the scores: on its training images a model
    looks too good, and would get too much weight.

    Args:
        scores (Sequence[Tensor]): ``(N, L)`` of each member.
        targets (Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        steps (int): Weights are multiples of 1 / steps. Defaults to 10.

    Returns:
        tuple[tuple[float, ...], float]: The weights, which sum to 1, and the mAP, the
        mean over labels that are present.

    Raises:
        ValueError: If no label is present in any image.

    Examples:
        >>> targets = torch.tensor([[1], [0], [0]])
        >>> good, bad = torch.tensor([[0.9], [0.4], [0.1]]), torch.zeros(3, 1)
        >>> choose_weights([bad, good], targets, steps=2)
        ((0.5, 0.5), 1.0)
    """
    if not is_present(targets).any():
        raise ValueError(
            'Weights cannot be chosen: no label is present in any of the '
            f'{len(targets)} images.'
        )
    tried = []
    for weights in _grid(len(scores), steps):
        blend = sum(weight * score.double() for weight, score in zip(weights, scores))
        value = float(average_precision(torch.as_tensor(blend), targets).nanmean())
        tried.append((value, weights))
    best = tried[0]
    for value, weights in tried[1:]:
        # Of equally good weights, the first: with the highest for the first member.
        if value > best[0] + 1e-9:
            best = value, weights
    return best[1], best[0]


def _grid(number: int, steps: int) -> Iterator[tuple[float, ...]]:
    """All weights that are multiples of 1 / steps, the first member's falling."""
    for parts in itertools.product(range(steps, -1, -1), repeat=number):
        if sum(parts) == steps:
            yield tuple(part / steps for part in parts)
