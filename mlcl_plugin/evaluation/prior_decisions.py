# SPDX-License-Identifier: Apache-2.0
"""Decisions by how frequent labels are in the training set."""

from collections.abc import Sequence

import numpy as np

from .decisions import Decisions

OWN = 1
"""Images of either kind that are added to the counts, so that no rate is 0 or 1."""


def prior_decisions(
    classes: Sequence[str],
    present: Sequence[int],
    absent: Sequence[int],
    strength: float = 1.0,
) -> Decisions:
    r"""Thresholds that adjust logits by the priors of the labels.

    `Menon et al., Long-tail learning via logit adjustment
    <https://arxiv.org/abs/2007.07314>`_, ICLR 2021, subtract
    :math:`\tau \log \pi_y` from the logits of a softmax at test time. For a label that
    is present or absent, this subtracts :math:`\tau \log \frac{\pi}{1 - \pi}` from its
    logit. Deciding at 0.5 is then deciding the score at
    :math:`\sigma(\tau \log \frac{\pi}{1 - \pi})`, which is :math:`\pi` itself for
    :math:`\tau = 1`. The order of images is not changed, nor average precision.

    Args:
        classes (Sequence[str]): L names.
        present (Sequence[int]): ``(L,)`` training images that have each label.
        absent (Sequence[int]): ``(L,)`` training images that do not have it. Unknown
            ones count for neither.
        strength (float): :math:`\tau`; 0 gives 0.5 for all labels. Defaults to 1.

    Returns:
        Decisions: A threshold per label. :math:`\pi` is
        :math:`(n_1 + 1) / (n_1 + n_0 + 2)`.

    Raises:
        ValueError: If a count or ``strength`` is negative, or numbers of labels differ.

    Examples:
        >>> prior_decisions(['cat', 'dog'], [1, 4], [17, 4]).thresholds.round(3)
        array([0.1, 0.5])
    """
    counts = np.array([present, absent], np.float64)
    if counts.shape != (2, len(classes)):
        raise ValueError(
            f'Expected {len(classes)} counts of present and of absent images, got '
            f'{len(present)} and {len(absent)}.'
        )
    if (counts < 0).any():
        raise ValueError(f'Counts must not be negative, got {counts.min():g}.')
    if strength < 0:
        raise ValueError(f'strength must not be negative, got {strength}.')
    odds = (counts[0] + OWN) / (counts[1] + OWN)
    powers = odds**strength
    return Decisions(classes, powers / (1 + powers))
