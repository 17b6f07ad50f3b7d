# SPDX-License-Identifier: Apache-2.0
"""Computation per class from the rows of all processes, a few classes at a time."""

from collections.abc import Callable, Sequence

import torch
from mmengine.dist import all_reduce, get_comm_device, get_rank
from torch import Tensor, distributed

# Entries of a block: 32 MB of single precision.
BLOCK_ENTRIES = 2**23


def map_class_blocks(
    function: Callable[..., Tensor],
    matrices: Sequence[Sequence[Tensor]],
    num_rows: Sequence[int],
) -> Tensor:
    """Compute a value of every class from all rows, a block of classes at a time.

    The matrices come in pieces of some rows each, and each process has its own rows.
    No matrix is put together as a whole: a block has at most ``BLOCK_ENTRIES`` entries
    (or one class). Of W processes each computes every W-th block, for which the others
    send it their columns.

    Args:
        function (Callable): Takes one tensor (N, B) per matrix, the B classes of a
            block with the rows of all processes in the order of their ranks, and
            returns (B,) float64. It gets tensors on the CPU.
        matrices (Sequence[Sequence[Tensor]]): The pieces (n, K) of each matrix that
            lie on this process, at least one, which may have no rows.
        num_rows (Sequence[int]): Number of rows of each process, by rank. More
            than one number means that all processes of the default group call this
            function at the same point.

    Returns:
        Tensor: The value of each class, (K,) float64, the same on all processes.
    """
    num_classes = matrices[0][0].shape[1]
    world_size = len(num_rows)
    rank = get_rank() if world_size > 1 else 0
    width = max(BLOCK_ENTRIES // max(sum(num_rows), 1), 1)
    # Few classes are divided among the processes too.
    width = min(width, -(-num_classes // world_size))

    result = torch.zeros(num_classes, dtype=torch.float64)
    for first in range(0, num_classes, width * world_size):
        starts = [first + width * index for index in range(world_size)]
        blocks = [slice(start, start + width) for start in starts]
        columns = [_columns(pieces, blocks, rank, num_rows) for pieces in matrices]
        if columns[0].shape[1] > 0:
            result[blocks[rank]] = function(*columns)
    if world_size > 1:
        # Each class was computed by one process and is 0 on all others.
        all_reduce(result)
    return result


def _columns(
    pieces: Sequence[Tensor],
    blocks: Sequence[slice],
    rank: int,
    num_rows: Sequence[int],
) -> Tensor:
    """Collect the block of this rank with the rows of all processes, (N, B)."""
    parts = [torch.cat([piece[:, block] for piece in pieces]) for block in blocks]
    if len(num_rows) == 1:
        return parts[0]
    width = parts[rank].shape[1]
    sent = torch.cat([part.flatten() for part in parts]).to(get_comm_device())
    received = sent.new_empty(sum(num_rows) * width)
    distributed.all_to_all_single(
        received,
        sent,
        output_split_sizes=[rows * width for rows in num_rows],
        input_split_sizes=[part.numel() for part in parts],
    )
    return received.view(sum(num_rows), width).cpu()
