# SPDX-License-Identifier: Apache-2.0
"""Blend the scores of a head with the votes of neighbours."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernel import Votes


def check_weights(weights: Sequence[float], num_neighbours: int) -> tuple[float, ...]:
    """Check the weights of a blend.

    Args:
        weights (Sequence[float]): That of the logits and one per memory.
        num_neighbours (int): Number of memories.

    Returns:
        tuple[float, ...]: The weights.

    Raises:
        ValueError: If their number is wrong, one is negative, or they do not sum to 1.
    """
    weights = tuple(float(weight) for weight in weights)
    if len(weights) != num_neighbours + 1:
        raise ValueError(
            f'weights must have {num_neighbours + 1} entries, one for the logits and '
            f'one for each of neighbours, got {weights}.'
        )
    if min(weights) < 0 or not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise ValueError(
            f'weights must not be negative and must sum to 1, got {weights}.'
        )
    return weights


def blend(logits: Tensor, votes: Sequence[Votes], weights: Sequence[float]) -> Tensor:
    r"""Blend probabilities, and return the result as logits.

    .. math::
        p_{bl} = w_0\, \sigma(s_{bl}) + \sum_i w_i\, p^{(i)}_{bl}

    Where a memory has no vote, its weight goes to the logit. Computed from
    log-probabilities of present and of absent, so that scores near 0 and near 1 keep
    their order.

    Args:
        logits (Tensor): ``(B, L)`` :math:`s`, of the head.
        votes (Sequence[Votes]): One item ``(B, L)`` per memory.
        weights (Sequence[float]): :math:`w_0, w_1, ...`, see :func:`check_weights`.

    Returns:
        Tensor: ``(B, L)`` logits, at least float32. Infinite where all members with a
        weight agree on a probability of 0 or 1.

    Raises:
        ValueError: If the weights do not fit the votes.
    """
    weights = check_weights(weights, len(votes))
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    own = Votes(F.logsigmoid(logits), F.logsigmoid(-logits))
    members = [own] + [
        # One without a vote has none for present and none for absent.
        Votes(*(own[i].where(vote.present.isnan(), vote[i]) for i in range(2)))
        for vote in votes
    ]
    pairs = [(math.log(w), member) for w, member in zip(weights, members) if w > 0]
    present = torch.stack([log_w + member.present for log_w, member in pairs])
    absent = torch.stack([log_w + member.absent for log_w, member in pairs])
    return present.logsumexp(dim=0) - absent.logsumexp(dim=0)
