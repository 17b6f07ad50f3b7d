# SPDX-License-Identifier: Apache-2.0
"""Which labels are wrongly predicted because of which others."""

import numpy as np
from scipy.stats import false_discovery_control, hypergeom

from ..evaluation.score_dump import ScoreDump
from ..targets import is_absent, is_present

# Entries of a block of pairs: 32 MB per count.
BLOCK_ENTRIES = 2**22


def confused_pairs(
    dump: ScoreDump,
    predicted: np.ndarray,
    max_pairs: int = 20,
    max_rate: float = 0.05,
) -> list[dict]:
    r"""Find labels that are falsely predicted where another label is present.

    With several labels per image there is no confusion matrix: a false label does not
    replace one certain label. For each pair of a present label i and a falsely
    predicted label j, take the images where j is absent and i is known. If errors about
    j were independent of i, then

    .. math::
        \frac{\text{images with i} \cdot \text{images with j falsely predicted}}
            {\text{images}}

    of them would be expected to have both. A pair is listed if there are more than
    that by a one-sided hypergeometric (Fisher's exact) test. Its false discovery rate
    over all pairs is kept at ``max_rate`` (Benjamini and Hochberg). Only images without
    j count, so labels that often occur together are not listed for that.

    Where i was missed as well, the model probably took i for j. In the other images i,
    or its surroundings, suggested j.

    Args:
        dump (ScoreDump): Targets.
        predicted (np.ndarray): ``(N, L)`` bool.
        max_pairs (int): Largest number of pairs. Defaults to 20.
        max_rate (float): Fraction of the pairs that may be listed by chance. Defaults
            to 0.05.

    Returns:
        list[dict]: ``present`` (i), ``predicted`` (j), ``images`` with both,
        ``expected`` such images, ``lift`` (how many times as many), ``missed`` (those
        of the images where i was missed) and ``p_adjusted``; sorted by falling excess
        of ``images`` over ``expected``.

    Raises:
        ValueError: If the shape of ``predicted`` does not fit the dump.
    """
    if predicted.shape != dump.targets.shape:
        raise ValueError(
            f'Expected predicted {dump.targets.shape}, got {predicted.shape}.'
        )
    # Floats, as only these are multiplied fast; exact up to 2**24 images.
    present = is_present(dump.targets).astype(np.float32)
    absent = is_absent(dump.targets).astype(np.float32)
    known = present + absent
    false = predicted * absent
    missed = (~predicted) * present
    num_labels = len(dump.classes)
    found: list[tuple[int, int, int, float, int]] = []
    blocks = []
    step = max(1, BLOCK_ENTRIES // num_labels)
    for start in range(0, num_labels, step):
        rows = slice(start, start + step)
        both = (present[:, rows].T @ false).astype(np.int64)
        images = (known[:, rows].T @ absent).astype(np.int64)
        with_i = (present[:, rows].T @ absent).astype(np.int64)
        with_j = (known[:, rows].T @ false).astype(np.int64)
        expected = with_i * with_j / np.maximum(images, 1)
        # The other pairs cannot be listed. The adjustment counts them with p = 1.
        i, j = np.nonzero((both > expected) & (both > 1))
        blocks.append(
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
    p_values = np.concatenate(blocks)
    if len(p_values) == 0:
        return []
    others = np.ones(num_labels * (num_labels - 1) - len(p_values))
    adjusted = false_discovery_control(np.concatenate([p_values, others]))
    # By the excess; pairs are found in the order of their labels.
    order = sorted(zip(found, adjusted), key=lambda item: item[0][3] - item[0][2])
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
        for (i, j, both, expected, also_missed), p in order
        if p <= max_rate
    ]
    return pairs[:max_pairs]
