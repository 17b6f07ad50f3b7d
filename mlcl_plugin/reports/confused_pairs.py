# SPDX-License-Identifier: Apache-2.0
"""Which labels are wrongly predicted because of which others."""

import numpy as np
from scipy.stats import false_discovery_control, hypergeom

from .score_dump import ScoreDump

# Entries of a block of pairs: 32 MB a count.
BLOCK_ENTRIES = 2**22


def confused_pairs(
    dump: ScoreDump,
    predicted: np.ndarray,
    max_pairs: int = 20,
    max_rate: float = 0.05,
) -> list[dict]:
    r"""Find labels that are falsely predicted where another label is present.

    With several labels an image there is no confusion matrix: a false label has no one
    label that it stands for. For each pair, of a label i that is present and a label j
    that is falsely predicted, take the images where j is absent and i is known. If
    errors about j had nothing to do with i, then

    .. math::
        \frac{\text{images with i} \cdot \text{images with j falsely predicted}}
            {\text{images}}

    of them would be expected to have both. A pair is listed if there are more than
    that, by a one-sided hypergeometric (Fisher's exact) test whose false discovery rate
    over all pairs is held at ``max_rate`` (Benjamini and Hochberg). Since only images
    without j count, that i and j often come together does not make a pair.

    Where i was missed as well, the model probably took i for j; the other images hold
    both, and i (or what is around it) suggested j.

    Args:
        dump (ScoreDump): Targets.
        predicted (np.ndarray): ``(N, L)`` bool.
        max_pairs (int): Pairs at most. Defaults to 20.
        max_rate (float): Part of the pairs that may be there by chance. Defaults to
            0.05.

    Returns:
        list[dict]: ``present`` (i), ``predicted`` (j), ``images`` with both,
        ``expected`` such images, ``lift`` (how many times as many), ``missed`` (those
        of the images where i was missed) and ``p_adjusted``; by falling excess of
        ``images`` over ``expected``.

    Raises:
        ValueError: If the shape of ``predicted`` is another.
    """
    if predicted.shape != dump.targets.shape:
        raise ValueError(
            f'Expected predicted {dump.targets.shape}, got {predicted.shape}.'
        )
    # Floats, as only these are multiplied fast; exact up to 2**24 images.
    present, absent = ((dump.targets == value).astype(np.float32) for value in (1, 0))
    known = present + absent
    false = predicted * absent
    missed = (~predicted) * present
    num_labels = len(dump.classes)
    found, p_values = [], []
    step = max(1, BLOCK_ENTRIES // num_labels)
    for start in range(0, num_labels, step):
        rows = slice(start, start + step)
        both = (present[:, rows].T @ false).astype(np.int64)
        images = (known[:, rows].T @ absent).astype(np.int64)
        with_i = (present[:, rows].T @ absent).astype(np.int64)
        with_j = (known[:, rows].T @ false).astype(np.int64)
        expected = with_i * with_j / np.maximum(images, 1)
        # The others cannot be listed; they count in the adjustment, as certain chance.
        i, j = np.nonzero((both > expected) & (both > 1))
        p_values.append(
            hypergeom.sf(both[i, j] - 1, images[i, j], with_i[i, j], with_j[i, j])
        )
        also_missed = (missed[:, rows].T @ false)[i, j]
        found += zip(
            (i + start).tolist(),
            j.tolist(),
            both[i, j].tolist(),
            expected[i, j].tolist(),
            also_missed.astype(int).tolist(),
        )
    p_values = np.concatenate(p_values)
    if len(p_values) == 0:
        return []
    others = np.ones(num_labels * (num_labels - 1) - len(p_values))
    adjusted = false_discovery_control(np.concatenate([p_values, others]))
    pairs = [
        dict(
            present=dump.classes[i],
            predicted=dump.classes[j],
            images=both,
            expected=expected,
            lift=both / expected,
            missed=also_missed,
            p_adjusted=float(p),
        )
        for (i, j, both, expected, also_missed), p in zip(found, adjusted)
        if p <= max_rate
    ]
    pairs.sort(key=lambda pair: pair['expected'] - pair['images'])
    return pairs[:max_pairs]
