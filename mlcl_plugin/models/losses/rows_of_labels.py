# SPDX-License-Identifier: Apache-2.0
"""Put the rows of each label together."""

import torch


class RowsOfLabels:
    """Arrange ``(N, ...)`` values of rows as ``(C, M, ...)``, one line per label.

    M is the largest number of rows of a label; lines are filled up with zeros.

    Args:
        index (Tensor): ``(N,)`` int64, the line of each row.
        num_lines (int): The number of lines C.
    """

    def __init__(self, index: torch.Tensor, num_lines: int):
        counts = index.bincount(minlength=num_lines)
        self.order = index.argsort(stable=True)
        self.lines = index[self.order]
        places = torch.arange(len(index), device=index.device)
        self.slots = places - (counts.cumsum(0) - counts)[self.lines]
        self.shape = (num_lines, int(counts.max()) if num_lines else 0)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Arrange ``(N, ...)`` values, with their gradient."""
        lines = rows.new_zeros(*self.shape, *rows.shape[1:])
        return lines.index_put((self.lines, self.slots), rows[self.order])
