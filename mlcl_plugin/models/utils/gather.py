# SPDX-License-Identifier: Apache-2.0
"""Gather rows of all processes, which may have different numbers of them."""

import torch
from mmengine.dist import all_gather, get_rank, get_world_size


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
        self.rank = get_rank()
        count = torch.tensor([num_rows], device=device)
        self.counts = torch.cat(all_gather(count)).tolist()

    @property
    def total(self) -> int:
        """Number of rows of all processes."""
        return sum(self.counts)

    @torch.no_grad()
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
        # The empty part serves a single process, which has no others.
        return torch.cat([rows[:0], *parts[: self.rank], *parts[self.rank + 1 :]])

    @torch.no_grad()
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

    def _gather(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The rows of each process."""
        if len(rows) != self.counts[self.rank]:
            raise ValueError(
                f'Expected {self.counts[self.rank]} rows to gather, as announced, got '
                f'{len(rows)}.'
            )
        padded = rows.new_zeros(max(self.counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        return [part[:count] for part, count in zip(all_gather(padded), self.counts)]


def scale_gradient(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Return ``x``, with its gradient multiplied by ``factor``.

    DDP averages the gradients of P processes. If each process computes the whole loss
    over the rows of all, and the gradient of its own rows, the sum is needed: the
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
