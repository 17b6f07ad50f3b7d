# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mlcl_plugin.models.neighbours import exact_products as module
from mlcl_plugin.models.neighbours.exact_products import (
    EXACT,
    exact_products,
    key_scale,
    quantise_keys,
    quantise_queries,
    query_scale,
    unit_vectors,
)

DTYPES = (torch.float16, torch.int8)


def random_case(dims, dtype, number=300, batch=9):
    generator = torch.Generator().manual_seed(dims)
    keys = unit_vectors(torch.randn(2, number, dims, generator=generator))
    queries = unit_vectors(torch.randn(2, batch, dims, generator=generator))
    # The same direction gives the greatest products.
    queries[:, 0] = keys[:, 0]
    whole = quantise_queries(queries, query_scale(dims, dtype))
    return keys, queries, whole, quantise_keys(keys, dtype)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('dims', [1, 3, 32, 512, 2048])
def test_products_are_exact(dims, dtype):
    """The same as products of integers, which round nothing."""
    _, _, whole, stored = random_case(dims, dtype)
    assert stored.dtype == dtype
    found = exact_products(whole, stored, torch.zeros(2, 300))
    expected = whole.long() @ stored.long().transpose(1, 2)
    assert (found.long() == expected).all() and (found == expected).all()
    # Partial sums of any order: those of positive and of negative terms are extreme.
    terms = whole.long()[:, :, None] * stored.long()[:, None]
    assert terms.clamp(min=0).sum(-1).max() <= EXACT
    assert terms.clamp(max=0).sum(-1).min() >= -EXACT


@pytest.mark.parametrize(
    ('dtype', 'error'), [(torch.float16, 2e-4), (torch.int8, 3e-3)]
)
@pytest.mark.parametrize('dims', [32, 512])
def test_cosines(dims, dtype, error):
    keys, queries, whole, stored = random_case(dims, dtype)
    found = exact_products(whole, stored, torch.zeros(2, 300))
    found = found / (query_scale(dims, dtype) * key_scale(dtype))
    expected = queries @ keys.transpose(1, 2)
    assert (found - expected).pow(2).mean().sqrt() < error


def test_chunks_and_offsets(monkeypatch):
    _, _, whole, stored = random_case(4, torch.float16)
    offsets = torch.arange(600.0).view(2, 300)
    offsets[0, 7] = -torch.inf
    found = exact_products(whole, stored, offsets)
    expected = exact_products(whole, stored, torch.zeros(2, 300)) + offsets[:, None]
    assert torch.equal(found, expected) and found[0, :, 7].isinf().all()
    monkeypatch.setattr(module, 'CHUNK_ELEMENTS', 4 * 11)
    assert torch.equal(exact_products(whole, stored, offsets), expected)


def test_zero_vector():
    assert torch.equal(unit_vectors(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_cast_memory():
    """A model that is cast holds the same whole numbers."""
    _, _, whole, stored = random_case(32, torch.float16)
    zeros = torch.zeros(2, 300)
    expected = exact_products(whole, stored, zeros)
    assert torch.equal(exact_products(whole, stored.double(), zeros), expected)
    assert key_scale(torch.float64) == key_scale(torch.float16) <= 2048
