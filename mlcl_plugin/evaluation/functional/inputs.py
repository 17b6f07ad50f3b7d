# SPDX-License-Identifier: Apache-2.0
"""Conversion and checks of what the metrics take."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...plain_text import brief
from ...targets import check_targets

ArrayLike = Tensor | np.ndarray | Sequence


def as_scores(value: ArrayLike) -> Tensor:
    """Convert scores to a tensor of single or double precision on the CPU.

    Raises:
        ValueError: If they are no numbers, or rows differ in length.
    """
    scores = as_numbers(value, 'scores')
    if scores.dtype in (torch.float16, torch.bfloat16):
        return scores.float()
    return scores if scores.is_floating_point() else scores.double()


def as_targets(value: ArrayLike) -> Tensor:
    """Convert targets to an int8 tensor on the CPU and check that each is 1, 0 or -1.

    Raises:
        ValueError: If a value is not a target.
    """
    targets = as_numbers(value, 'targets')
    check_targets(targets, name='targets')
    return targets.to(torch.int8)


def as_numbers(value: ArrayLike, name: str) -> Tensor:
    """Convert numbers to a tensor on the CPU.

    Args:
        value (Tensor | np.ndarray | Sequence): The numbers.
        name (str): What the error calls them.

    Raises:
        ValueError: If torch cannot make a tensor of them.
    """
    try:
        return torch.as_tensor(value).detach().cpu()
    # torch raises RuntimeError for what is no number at all.
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f'{name} must be numbers, got {brief(value)}: {error}.'
        ) from error


def check_nan(scores: Tensor, where: str = '') -> None:
    """Raise a ValueError if a score is nan; ``where`` says in which sample."""
    if scores.isnan().any():
        raise ValueError(
            f'{int(scores.isnan().sum())} of {scores.numel()} scores are nan{where}. '
            'The model has diverged or its input holds nan.'
        )


def check_matrices(name: str, first: Tensor, targets: Tensor) -> None:
    """Raise a ValueError unless both are matrices of one shape with a column."""
    if first.ndim != 2 or first.shape != targets.shape or first.shape[1] == 0:
        raise ValueError(
            f'{name} and targets must have one shape (N, K) with K > 0, got '
            f'{tuple(first.shape)} and {tuple(targets.shape)}.'
        )
