# SPDX-License-Identifier: Apache-2.0
"""Resamples of images, and the intervals of metrics that they give.

A resample draws N of the N images with replacement. It is stored as how often each
image was drawn, its weight, so that scores are sorted once for all resamples.
"""

import math
from collections.abc import Iterator

import numpy as np

# Entries of a block of weights: 64 MB in single precision.
BLOCK_ENTRIES = 2**24


def draw_weights(
    num_images: int, num_resamples: int, seed: int = 0
) -> Iterator[np.ndarray]:
    """Draw resamples, a block at a time.

    Args:
        num_images (int): N.
        num_resamples (int): R.
        seed (int): The same seed and N give the same resamples. Defaults to 0.

    Yields:
        np.ndarray: ``(r, N)`` float32, how often each image was drawn; all together
        have R rows.

    Raises:
        ValueError: If a number is not positive.
    """
    for name, number in (('images', num_images), ('resamples', num_resamples)):
        if number < 1:
            raise ValueError(f'The number of {name} must be positive, got {number}.')
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK_ENTRIES // num_images)
    for start in range(0, num_resamples, size):
        rows = [
            np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
            for _ in range(min(size, num_resamples - start))
        ]
        yield np.stack(rows).astype(np.float32)


def interval(
    resampled: np.ndarray,
    estimate: float,
    level: float = 0.95,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    r"""Compute the basic bootstrap interval.

    It is :math:`(2 e - q_\text{high}, 2 e - q_\text{low})`, not the percentile interval
    :math:`(q_\text{low}, q_\text{high})`, since average precision of resamples is too
    high: an image that is drawn twice supports itself. In simulations with 20 labels of
    3 % in 500 images, 95 % percentile intervals of mAP held the true value in 19 of 100
    cases, basic ones in 84 (with 7 % in 1,500 images: 71 and 91). The rest of the gap
    comes from mAP itself, which is too high where labels are rare.

    Args:
        resampled (np.ndarray): ``(R,)``, the metric of each resample; nan is left out.
        estimate (float): The metric of the images themselves.
        level (float): The fraction of cases in which the interval is to hold the true
            value. Defaults to 0.95.
        limits (tuple[float, float]): The lowest and the highest possible value.
            Defaults to none.

    Returns:
        tuple[float, float]: Lower and upper end; nan if all values are nan.

    Raises:
        ValueError: If ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f'level must be between 0 and 1, got {level}.')
    resampled = resampled[~np.isnan(resampled)]
    if len(resampled) == 0:
        return math.nan, math.nan
    quantiles = np.quantile(resampled, [(1 + level) / 2, (1 - level) / 2])
    low, high = np.clip(2 * estimate - quantiles, *limits)
    return float(low), float(high)
