# SPDX-License-Identifier: Apache-2.0
"""Inner products of unit vectors that do not depend on the order of their sums.

A matrix product rounds. How it rounds depends on the library, on the processor and on
the number of rows, so the same image could get other neighbours in another batch.
Here unit vectors are stored as whole numbers, scaled such that every partial sum of an
inner product is a whole number below 2**24. Float32 represents all of these, so that
nothing is rounded in any order of summation. They are stored as float16, which
represents all whole numbers up to 2048, or as int8.

By Cauchy-Schwarz a partial sum is at most the product of the lengths of both vectors.
Rounding lengthens a vector of D coordinates by at most ``sqrt(D) / 2``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EXACT = 2**24
"""Float32 represents all whole numbers up to this one."""

STORAGE = {'float16': torch.float16, 'int8': torch.int8}
"""Types of the coordinates in memory, by their names."""

# Elements of the memory that are turned into float32 at a time: what a processor's
# cache holds.
CHUNK_ELEMENTS = 2**19


def key_scale(dtype: torch.dtype) -> int:
    """Length of a unit vector in memory.

    Floating point numbers of more bits may hold the same whole numbers as float16, so
    that a model may be cast.

    Args:
        dtype (torch.dtype): Type of its coordinates.

    Returns:
        int: The length.
    """
    return 127 if dtype == torch.int8 else 2047


def query_scale(dims: int, dtype: torch.dtype, limit: int = EXACT) -> int:
    """The greatest length of a query whose products with keys are exact.

    Args:
        dims (int): Coordinates of a vector.
        dtype (torch.dtype): Type of the keys.
        limit (int): What no partial sum may exceed. Defaults to :data:`EXACT`.

    Returns:
        int: The length.

    Examples:
        >>> query_scale(32, torch.float16), query_scale(32, torch.int8)
        (8181, 129223)
    """
    slack = math.sqrt(dims) / 2
    return math.floor(limit / (key_scale(dtype) + slack) - slack)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors ``(..., D)`` of length 1 in float32; zero stays zero."""
    return F.normalize(vectors.float().contiguous(), dim=-1)


def quantise_keys(vectors: Tensor, dtype: torch.dtype = torch.float16) -> Tensor:
    """Round unit vectors ``(..., D)`` to whole numbers of a type."""
    return (vectors * key_scale(dtype)).round().to(dtype)


def quantise_queries(vectors: Tensor, scale: int) -> Tensor:
    """Round unit vectors ``(..., D)`` to whole numbers, as float32."""
    return (vectors * scale).round()


def exact_products(queries: Tensor, keys: Tensor, offsets: Tensor) -> Tensor:
    """Inner products of whole numbers, plus an offset per key.

    Args:
        queries (Tensor): ``(G, B, D)`` float32, whole numbers.
        keys (Tensor): ``(G, N, D)``, made by :func:`quantise_keys`.
        offsets (Tensor): ``(G, N)`` float32, whole numbers or -inf.

    Returns:
        Tensor: ``(G, B, N)`` float32.
    """
    groups, number, dims = keys.shape
    rows = max(1, CHUNK_ELEMENTS // max(dims, 1))
    if number <= rows:
        return torch.baddbmm(offsets[:, None], queries, keys.float().transpose(1, 2))
    parts = [
        torch.baddbmm(
            offsets[:, None, start : start + rows],
            queries,
            keys[:, start : start + rows].float().transpose(1, 2),
        )
        for start in range(0, number, rows)
    ]
    return torch.cat(parts, dim=-1)
