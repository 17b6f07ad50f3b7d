# SPDX-License-Identifier: Apache-2.0
"""Compare the scores of an exported model with those of torch."""

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import EngineError
from .real_images import RealImages, batches

BATCH_SIZES = (1, 3, 7)
"""Sizes of batches that an exported model is compared at."""
TOLERANCE = 1e-4
"""Greatest difference of a score."""
JUMP, JUMPS = 0.01, 1e-3
"""With nearest neighbours, this share of the scores may differ by so much: rounding may
change which of two entries is the last of the nearest ones."""


def score_differences(
    run: Callable[[np.ndarray], np.ndarray],
    images: RealImages,
    sizes: Sequence[int] = BATCH_SIZES,
) -> dict[int, np.ndarray]:
    """Compute how far the scores are from torch's, for each batch size.

    Args:
        run (Callable): Turns images ``(B, C, H, W)`` into scores ``(B, L)``.
        images (RealImages): The images, with torch's scores.
        sizes (Sequence[int]): Batch sizes. Defaults to :data:`BATCH_SIZES`.

    Returns:
        dict[int, np.ndarray]: The absolute differences ``(N, L)`` by batch size; nan
        where a score is nan.
    """
    return {
        size: np.concatenate(
            [
                np.abs(run(inputs.numpy()) - scores.numpy())
                for inputs, scores in batches(images, size)
            ]
        )
        for size in sizes
    }


def check_agreement(
    differences: dict[int, np.ndarray], what: str, neighbours: bool = False
) -> None:
    """Check that differences are those of rounding.

    Args:
        differences (dict[int, np.ndarray]): See :func:`score_differences`.
        what (str): What was compared, for the message.
        neighbours (bool): Whether nearest neighbours vote, so that single scores may
            jump, see :data:`JUMPS`. At least one may. Defaults to False.

    Raises:
        EngineError: If a score differs by more than :data:`TOLERANCE`.
    """
    for size, values in differences.items():
        # Written so that nan fails too.
        jumps = values[~(values <= TOLERANCE)]
        if not len(jumps):
            continue
        few = len(jumps) <= max(1, JUMPS * values.size)
        if neighbours and few and (jumps <= JUMP).all():
            continue
        raise EngineError(
            f'Scores of {what} differ from those of torch by {jumps.max():.2g} in '
            f'batches of {size}, expected at most {TOLERANCE:.0e}. No file was '
            'written.'
        )
