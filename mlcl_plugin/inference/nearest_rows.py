# SPDX-License-Identifier: Apache-2.0
"""The rows of a matrix that are most like a query, exactly, part by part."""

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 2**16
"""Rows that are compared at a time."""


def nearest_rows(
    queries: Tensor,
    rows: Callable[[int, int], Tensor],
    total: int,
    number: int,
    chunk: int = CHUNK,
    allowed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the rows with the largest inner products.

    Args:
        queries (Tensor): ``(Q, D)``.
        rows (Callable): Gives the rows from a first to before a last one, ``(n, D)``,
            on the device of the queries and of their type.
        total (int): Number of rows.
        number (int): Largest number of rows that are wanted.
        chunk (int): Rows that are compared at a time. Defaults to 2**16.
        allowed (Tensor, optional): ``(total,)`` bool, the rows that may be found.
            Defaults to None, all.

    Returns:
        tuple[Tensor, Tensor]: Products ``(Q, k)``, falling, and the indices ``(Q, k)``
        int64 of the rows, with k the smaller one of ``number`` and of the rows that may
        be found. Of equal products the earlier row comes first.

    Raises:
        ValueError: If ``number`` or ``chunk`` is not positive.
    """
    if number < 1 or chunk < 1:
        raise ValueError(
            f'number and chunk must be positive, got number={number} and chunk={chunk}.'
        )
    best = queries.new_zeros(len(queries), 0)
    places = torch.zeros(len(queries), 0, dtype=torch.int64, device=queries.device)
    for first in range(0, total, chunk):
        products = queries @ rows(first, min(first + chunk, total)).T
        own = torch.arange(first, first + products.size(1), device=queries.device)
        if allowed is not None:
            # Cheaper than to choose among the rows, which are longer.
            chosen = allowed[first : first + len(own)]
            products, own = products[:, chosen], own[chosen]
        if products.size(1) > 4 * number:
            # What is not among the first of its part is not among the first of all.
            # More than are wanted: topk does not say which of equal ones it takes.
            cut = products.topk(number, dim=1).values[:, -1:]
            keep = (products >= cut).any(dim=0).nonzero()[:, 0]
            products, own = products[:, keep], own[keep]
        best = torch.cat([best, products], dim=1)
        places = torch.cat([places, own.expand(len(queries), -1)], dim=1)
        order = best.argsort(dim=1, descending=True, stable=True)[:, :number]
        best, places = best.gather(1, order), places.gather(1, order)
    return best, places
