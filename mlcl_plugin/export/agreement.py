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


def largest_differences(
    run: Callable[[np.ndarray], np.ndarray],
    images: RealImages,
    sizes: Sequence[int] = BATCH_SIZES,
) -> dict[int, float]:
    """Compute the largest difference of a score from torch's, for each batch size.

    Args:
        run (Callable): Turns images ``(B, C, H, W)`` into scores ``(B, L)``.
        images (RealImages): The images, with torch's scores.
        sizes (Sequence[int]): Batch sizes. Defaults to :data:`BATCH_SIZES`.

    Returns:
        dict[int, float]: The difference by batch size; nan if a score is nan.
    """
    return {
        size: float(
            np.max(
                [
                    np.abs(run(inputs.numpy()) - scores.numpy()).max()
                    for inputs, scores in batches(images, size)
                ]
            )
        )
        for size in sizes
    }


def check_agreement(differences: dict[int, float], what: str) -> None:
    """Raise an EngineError if a difference is larger than :data:`TOLERANCE`."""
    for size, difference in differences.items():
        # Written so that nan fails too.
        if not difference <= TOLERANCE:
            raise EngineError(
                f'Scores of {what} differ from those of torch by {difference:.2g} in '
                f'batches of {size}, expected at most {TOLERANCE:.0e}. No file was '
                'written.'
            )
