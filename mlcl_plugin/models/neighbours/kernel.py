# SPDX-License-Identifier: Apache-2.0
"""Score labels by the nearest entries of a memory."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...targets import is_known, is_present
from .exact_products import (
    CHUNK_ELEMENTS,
    EXACT,
    exact_products,
    key_scale,
    quantise_queries,
    query_scale,
    unit_vectors,
)

# A product is doubled, and its last bit says whether the entry is present.
PRODUCT_LIMIT = EXACT // 2 - 1


class Votes(NamedTuple):
    """Log-probabilities ``(B, L)`` of present and of absent; nan is no vote."""

    present: Tensor
    absent: Tensor


def kernel_votes(
    queries: Tensor,
    keys: Tensor,
    targets: Tensor,
    temperature: float = 0.05,
    num_neighbours: int | None = None,
    counts: Tensor | None = None,
) -> Votes:
    r"""Probability that a label is present, by a kernel over its nearest entries.

    With the :math:`k` nearest known entries :math:`N_k` of label :math:`l`:

    .. math::
        p_{bl} = \frac{\sum_{n \in N_k} c_{ln}\, t_{ln}
        \exp(\cos(q_{bl}, x_{ln}) / \tau)}
        {\sum_{n \in N_k} c_{ln} \exp(\cos(q_{bl}, x_{ln}) / \tau)}

    Unknown entries are never among the nearest. Of entries with the same cosine at the
    k-th place, present ones count first. The result depends neither on the order of
    the entries nor on the other queries of the batch, to the last bit on a CPU: cosines
    are products of whole numbers, see
    :mod:`~mlcl_plugin.models.neighbours.exact_products`, and the sums are those of
    sorted numbers in double precision. It has no gradient.

    Args:
        queries (Tensor): ``(B, L, D)``, or ``(B, 1, D)`` for keys that labels share, of
            any length.
        keys (Tensor): ``(L, N, D)`` or ``(1, N, D)``, made by
            :func:`~mlcl_plugin.models.neighbours.exact_products.quantise_keys`.
        targets (Tensor): ``(L, N)`` int8, 1 present, 0 absent, -1 unknown.
        temperature (float): The divisor :math:`\tau` of the cosines. Defaults to 0.05.
        num_neighbours (int, optional): The number :math:`k` of nearest entries. None
            lets all known entries vote. Defaults to None.
        counts (Tensor, optional): ``(L, N)`` :math:`c_{ln}`, how often an entry counts.
            Then all entries vote. Defaults to once each.

    Returns:
        Votes: Float32; nan for labels without a known entry.
    """
    labels, number = targets.shape
    shared, dims = keys.shape[0] == 1, keys.shape[2]
    if counts is not None or (num_neighbours or number) >= number:
        num_neighbours = None
    length = query_scale(dims, keys.dtype, PRODUCT_LIMIT)
    # Doubled, so that the last bit is free.
    unit = unit_vectors(queries.detach())
    whole = 2 * quantise_queries(unit, length).transpose(0, 1)
    factor = 1 / (temperature * length * key_scale(keys.dtype))
    if shared:
        doubled = exact_products(whole, keys, whole.new_zeros(1, number))
        step = labels
    else:
        step = max(1, CHUNK_ELEMENTS // max(number * dims, 1))
    parts = []
    for first in range(0, labels, step):
        part = slice(first, first + step)
        # The last bit is 1 for present entries; unknown ones are infinitely far.
        last_bit = is_present(targets[part]).float()
        last_bit = last_bit.where(is_known(targets[part]), -math.inf)
        if shared:
            products = doubled + last_bit[:, None]
        else:
            products = exact_products(whole[part], keys[part], last_bit)
        if num_neighbours is not None:
            products = largest(products, num_neighbours)
        weights = None if counts is None else counts[part, None]
        parts.append(_sum_votes(products, factor, weights))
    return Votes(*(torch.cat(sums).T.contiguous() for sums in zip(*parts)))


def _sum_votes(products: Tensor, factor: float, counts: Tensor | None) -> Votes:
    """Votes ``(L, B)`` of doubled products ``(L, B, N)`` with present as last bit."""
    known = products > -math.inf
    products = products.where(known, 0)
    cosines = (products / 2).floor()
    present = (products - 2 * cosines).double()
    # Differences of whole numbers: exact in double precision.
    cosines = cosines.double().masked_fill(~known, -EXACT)
    nearest = cosines.amax(dim=-1, keepdim=True)
    weights = ((cosines - nearest) * factor).exp() * known
    if counts is not None:
        weights = weights * counts
    total = weights.sum(dim=-1).log()
    for_label = (weights * present).sum(dim=-1).log() - total
    against = (weights * (1 - present)).sum(dim=-1).log() - total
    return Votes(for_label.float(), against.float())


def largest(x: Tensor, k: int) -> Tensor:
    """The k largest values along the last dimension, in falling order.

    The same as ``x.topk(k).values``, faster for small k: the k largest values lie in
    the k columns whose maxima are largest, if x is folded into columns.

    Args:
        x (Tensor): ``(..., N)``.
        k (int): At most N.

    Returns:
        Tensor: ``(..., k)``.

    Examples:
        >>> largest(torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0]), 2)
        tensor([5., 4.])
    """
    number = x.shape[-1]
    # About as many columns as values in the chosen ones.
    height = math.isqrt(number // k)
    if height < 2:
        return x.topk(k).values
    width = number // height
    folded = x[..., : height * width].unflatten(-1, (height, width))
    columns = folded.amax(dim=-2, keepdim=True).topk(k, sorted=False).indices
    columns = columns.expand(*folded.shape[:-1], k)
    candidates = folded.gather(-1, columns).flatten(-2)
    rest = x[..., height * width :]
    return torch.cat([candidates, rest], dim=-1).topk(k).values


def kernel_shares(
    query: Tensor,
    keys: Tensor,
    targets: Tensor,
    temperature: float = 0.05,
    num_neighbours: int | None = None,
    counts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cosine and share of the votes of every entry of one label, for one query.

    Args:
        query (Tensor): ``(D,)`` of any length.
        keys (Tensor): ``(N, D)``.
        targets (Tensor): ``(N,)``.
        temperature (float): As in :func:`kernel_votes`. Defaults to 0.05.
        num_neighbours (int, optional): As in :func:`kernel_votes`. Defaults to None.
        counts (Tensor, optional): ``(N,)``. Defaults to once each.

    Returns:
        tuple[Tensor, Tensor]: ``(N,)`` each, float64. The shares sum to 1; those of
        entries that do not vote are 0. Entries that tie at the k-th place vote all.
    """
    length = query_scale(keys.shape[1], keys.dtype, PRODUCT_LIMIT)
    whole = quantise_queries(unit_vectors(query), length)
    zeros = whole.new_zeros(1, len(keys))
    products = exact_products(whole[None, None], keys[None], zeros)[0, 0].double()
    voting = is_known(targets)
    if counts is None and num_neighbours is not None:
        known = products[voting]
        if num_neighbours < len(known):
            voting = voting & (products >= known.topk(num_neighbours).values[-1])
    cosines = products / (length * key_scale(keys.dtype))
    scores = (cosines / temperature).masked_fill(~voting, -math.inf)
    if counts is not None:
        scores = scores + counts.double().log()
    return cosines, scores.softmax(dim=0)
