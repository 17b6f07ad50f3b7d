# SPDX-License-Identifier: Apache-2.0
"""Rows of all processes, where each has another number of them."""

import torch
from mmengine.dist import get_world_size
from torch import distributed


class RaggedGather:
    """Fetch rows from all other processes of a run.

    Processes may hold different numbers of rows, also none. All processes must make
    the object and call it in the same order, whatever they hold.

    Bytes sent by each process: 8 for the number of rows, then for each call the
    largest number of rows of a process, times the bytes of a row; a ring receives
    (processes - 1) times as much.

    Args:
        num_rows (int): Number of rows of this process.
        device (torch.device): Where the rows are.
    """

    def __init__(self, num_rows: int, device: torch.device):
        self.world_size = get_world_size()
        self.rank = distributed.get_rank() if self.world_size > 1 else 0
        self.counts = [num_rows]
        if self.world_size > 1:
            count = torch.tensor([num_rows], device=device)
            counts = [torch.empty_like(count) for _ in range(self.world_size)]
            distributed.all_gather(counts, count)
            self.counts = torch.cat(counts).tolist()

    @property
    def total(self) -> int:
        """Number of rows of all processes."""
        return sum(self.counts)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Fetch the rows of the others.

        Args:
            rows (Tensor): ``(N, ...)``, N as announced.

        Returns:
            Tensor: ``(R, ...)``, the rows of all other processes in the order of
            their ranks, without gradient.

        Raises:
            ValueError: If there are not as many rows as announced.
        """
        parts = self._gather(rows)
        return torch.cat(
            [rows[:0].detach(), *parts[: self.rank], *parts[self.rank + 1 :]]
        )

    def all(self, rows: torch.Tensor) -> torch.Tensor:
        """Fetch the rows of all, those of this process included.

        Args:
            rows (Tensor): ``(N, ...)``, N as announced.

        Returns:
            Tensor: ``(R, ...)`` in the order of ranks, without gradient.

        Raises:
            ValueError: If there are not as many rows as announced.
        """
        return torch.cat(self._gather(rows))

    @torch.no_grad()
    def _gather(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The rows of each process."""
        if len(rows) != self.counts[self.rank]:
            raise ValueError(
                f'Expected {self.counts[self.rank]} rows to gather, as announced, got '
                f'{len(rows)}.'
            )
        rows = rows.detach()
        largest = max(self.counts)
        if self.world_size == 1 or largest == 0:
            return [rows] * self.world_size
        padded = rows.new_zeros(largest, *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in range(self.world_size)]
        distributed.all_gather(gathered, padded)
        return [part[:count] for part, count in zip(gathered, self.counts)]


def scale_gradient(x: torch.Tensor, factor: float) -> torch.Tensor:
    """``x`` itself, with its gradient multiplied by ``factor``.

    DDP averages the gradients of P processes. A loss over the rows of all processes
    that each computes whole, with the gradient of its own rows, needs the sum: the
    factor is P.
    """
    return x if factor == 1 else _ScaleGradient.apply(x, factor)


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor, None
