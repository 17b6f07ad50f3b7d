# SPDX-License-Identifier: Apache-2.0
"""The samples that a sampler added to give all processes equally many."""

from collections.abc import Sequence


def num_without_padding(num_held: Sequence[int], size: int) -> list[int]:
    """Count the leading samples that each process keeps without padding.

    MMEngine's ``DefaultSampler`` gives process r of W, as its j-th sample, the one
    at place j * W + r of the order that all processes share. Places after ``size``
    repeat samples from the start: only the last samples of a process can be padding,
    and each process drops its own before anything is exchanged. MMEngine's
    ``collect_results`` keeps the same samples. A sampler that cuts the order
    into one run per process (MMPretrain's ``SequentialSampler`` with
    ``subsample_type='sequential'``) must not pad: set its ``round_up=False``.

    If all processes together hold at most ``size`` samples, there is no padding, and
    their distribution does not matter.

    Args:
        num_held (Sequence[int]): Number of samples of each process, by rank.
        size (int): Number of samples of the dataset.

    Returns:
        list[int]: Number of samples to keep, by rank.

    Raises:
        ValueError: If there are more samples than ``size`` on several processes and
            their numbers are not those of ``DefaultSampler``.
    """
    world_size = len(num_held)
    if sum(num_held) <= size:
        return list(num_held)
    if world_size == 1:
        return [size]
    padded = -(-size // world_size)
    if any(number != padded for number in num_held):
        raise ValueError(
            f'The processes hold {list(num_held)} samples of a dataset of {size}. '
            f'Padding can be told only if each holds {padded}, as from '
            'DefaultSampler with round_up=True. Use that sampler, or one that pads '
            'nothing, and call `evaluate` once after each round of `process`.'
        )
    return [len(range(rank, size, world_size)) for rank in range(world_size)]
