# SPDX-License-Identifier: Apache-2.0
import importlib.util
import math
from pathlib import Path

import pytest
import torch

from mlcl_plugin.models.neighbours import kernel as module
from mlcl_plugin.models.neighbours import kernel_votes
from mlcl_plugin.models.neighbours.exact_products import (
    key_scale,
    quantise_keys,
    quantise_queries,
    query_scale,
    unit_vectors,
)
from mlcl_plugin.models.neighbours.kernel import kernel_shares, largest

PATH = Path(__file__).with_name('oracle.py')
spec = importlib.util.spec_from_file_location('neighbour_oracle', PATH)
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)


def random_case(labels=3, number=40, batch=5, dims=6, unknown=0.3, shared=False):
    generator = torch.Generator().manual_seed(0)
    groups = 1 if shared else labels
    queries = torch.randn(batch, groups, dims, generator=generator)
    keys = torch.randn(groups, number, dims, generator=generator)
    chance = torch.rand(labels, number, generator=generator)
    targets = (torch.rand(labels, number, generator=generator) < 0.3).to(torch.int8)
    targets[chance < unknown] = -1
    return queries, unit_vectors(keys), targets


def probabilities(votes):
    """Of present, checked to be 1 minus those of absent."""
    assert votes.present.dtype == votes.absent.dtype == torch.float32
    total = votes.present.exp() + votes.absent.exp()
    torch.testing.assert_close(total.nan_to_num(1), torch.ones_like(total))
    return votes.present.exp()


@pytest.mark.parametrize('dtype', [torch.float16, torch.int8])
@pytest.mark.parametrize('temperature', [0.05, 1.0])
@pytest.mark.parametrize('k', [None, 1, 7, 26, 40, 100])
@pytest.mark.parametrize('shared', [False, True])
def test_loops(shared, k, temperature, dtype):
    """Compared with the formula on the vectors that are stored."""
    queries, keys, targets = random_case(shared=shared)
    stored = quantise_keys(keys, dtype)
    found = probabilities(kernel_votes(queries, stored, targets, temperature, k))
    expected = oracle.votes(
        queries.expand(-1, 3, -1).tolist(),
        stored.expand(3, -1, -1).tolist(),
        targets.tolist(),
        temperature,
        k,
    )
    # Rounding makes stored vectors longer or shorter, but all count as equally long.
    atol = 2e-3 if dtype == torch.float16 else 3e-2
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=atol)


@pytest.mark.parametrize('dtype', [torch.float16, torch.int8])
@pytest.mark.parametrize('k', [None, 1, 7, 26])
def test_loops_over_whole_numbers(k, dtype):
    """Apart from rounding vectors to whole numbers, nothing is lost."""
    queries, keys, targets = random_case()
    stored = quantise_keys(keys, dtype)
    length = query_scale(6, dtype, module.PRODUCT_LIMIT)
    found = kernel_votes(queries, stored, targets, 0.05, k)
    expected = oracle.votes(
        quantise_queries(unit_vectors(queries), length).tolist(),
        stored.tolist(),
        targets.tolist(),
        0.05,
        k,
        scale=length * key_scale(dtype),
    )
    torch.testing.assert_close(
        probabilities(found), torch.tensor(expected), rtol=0, atol=1e-6
    )


def test_whole_cosines():
    """Vectors along the axes are stored without an error: equal to the oracle."""
    keys = torch.cat([torch.eye(3), -torch.eye(3)])[None].repeat(2, 1, 1)
    targets = torch.tensor([[1, 0, 0, 1, -1, 0], [0, 1, 1, 0, 0, 1]], dtype=torch.int8)
    queries = torch.tensor([[[5.0, 0, 0], [0, 0, 0.2]], [[0, -1, 0], [0, 3, 0]]])
    for k in (None, 1, 2, 4):
        for temperature in (0.5, 3.0):
            found = kernel_votes(queries, quantise_keys(keys), targets, temperature, k)
            expected = oracle.votes(
                queries.tolist(), keys.tolist(), targets.tolist(), temperature, k
            )
            torch.testing.assert_close(
                probabilities(found), torch.tensor(expected), rtol=0, atol=1e-6
            )


@pytest.mark.parametrize('k', [None, 7, 1000])
@pytest.mark.parametrize('shared', [False, True])
def test_equal_to_the_bit_for_any_batch(k, shared):
    queries, keys, targets = random_case(4, 3000, 64, 24, shared=shared)
    # Some images twice: their cosines tie.
    keys[:, 1000:1500] = keys[:, :500]
    stored = quantise_keys(keys)
    whole = kernel_votes(queries, stored, targets, num_neighbours=k)
    for size in (1, 2, 7):
        for start in range(0, 64, size):
            part = kernel_votes(
                queries[start : start + size], stored, targets, num_neighbours=k
            )
            for a, b in zip(part, whole):
                assert torch.equal(a, b[start : start + size])


@pytest.mark.parametrize('k', [None, 7, 500])
def test_equal_to_the_bit_for_any_order_of_neighbours(k, monkeypatch):
    queries, keys, targets = random_case(3, 3000, 5, 24)
    stored = quantise_keys(keys)
    expected = kernel_votes(queries, stored, targets, num_neighbours=k)
    order = torch.randperm(3000, generator=torch.Generator().manual_seed(1))
    found = kernel_votes(queries, stored[:, order], targets[:, order], num_neighbours=k)
    for a, b in zip(found, expected):
        # All entries are not sorted, and summed in another order.
        torch.testing.assert_close(a, b, rtol=1e-6 if k is None else 0, atol=0)
    monkeypatch.setattr(module, 'CHUNK_ELEMENTS', 1)
    monkeypatch.setattr(
        'mlcl_plugin.models.neighbours.exact_products.CHUNK_ELEMENTS', 99
    )
    for a, b in zip(kernel_votes(queries, stored, targets, num_neighbours=k), expected):
        assert torch.equal(a, b)


class TestTies:
    def test_present_first_at_the_last_place(self):
        keys = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1], [-1, 0]])[None]
        queries = torch.tensor([[[1.0, 0]]])
        for targets in ([0, 0, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]):
            for k, expected in ((1, 0), (2, 1), (3, 1), (4, 1)):
                found = kernel_votes(
                    queries,
                    quantise_keys(keys),
                    torch.tensor([targets], dtype=torch.int8),
                    temperature=0.5,
                    num_neighbours=k,
                )
                # The first has the weight exp(2), each other one of the three 1.
                share = expected / (math.exp(2) + k - 1)
                assert found.present.exp().item() == pytest.approx(share, abs=1e-6)

    def test_all_the_same(self):
        """Also a query without a direction."""
        keys = quantise_keys(torch.tensor([[0.6, 0.8]]).repeat(10, 1))[None]
        targets = torch.tensor([[1, 0, 0, 1, 0, 0, 0, 0, 0, -1]], dtype=torch.int8)
        queries = torch.tensor([[[0.6, 0.8]], [[0.0, 0.0]], [[-1.0, 0.0]]])
        found = kernel_votes(queries, keys, targets)
        torch.testing.assert_close(found.present.exp(), torch.full((3, 1), 2 / 9))
        found = kernel_votes(queries, keys, targets, num_neighbours=4)
        torch.testing.assert_close(found.present.exp(), torch.full((3, 1), 0.5))


class TestUnknown:
    def test_never_votes(self):
        """What an unknown entry holds changes nothing, to the bit."""
        queries, keys, targets = random_case()
        expected = kernel_votes(queries, quantise_keys(keys), targets, 0.05, 7)
        keys[targets == -1] = unit_vectors(queries[0])[:, None].expand_as(keys)[
            targets == -1
        ]
        found = kernel_votes(queries, quantise_keys(keys), targets, 0.05, 7)
        for a, b in zip(found, expected):
            assert torch.equal(a, b)

    @pytest.mark.parametrize('k', [None, 1, 7])
    def test_all(self, k):
        queries, keys, targets = random_case()
        targets[1] = -1
        found = kernel_votes(queries, quantise_keys(keys), targets, 0.05, k)
        for vote in found:
            assert vote[:, 1].isnan().all() and not vote[:, [0, 2]].isnan().any()

    def test_fewer_than_k(self):
        queries, keys, targets = random_case()
        targets[0, 3:] = -1
        targets[0, :3] = torch.tensor([1, 0, 0])
        found = kernel_votes(queries, quantise_keys(keys), targets, 0.05, 7)
        few = kernel_votes(queries, quantise_keys(keys), targets, 0.05)
        assert torch.equal(found.present[:, 0], few.present[:, 0])


@pytest.mark.parametrize('temperature', [1e-4, 1e-3])
def test_small_temperature(temperature):
    """No overflow: the nearest entry decides."""
    queries, keys, targets = random_case()
    found = kernel_votes(queries, quantise_keys(keys), targets, temperature).present
    one = kernel_votes(queries, quantise_keys(keys), targets, 0.05, 1).present
    assert not found.isnan().any()
    torch.testing.assert_close(found.exp().round(), one.exp())


@pytest.mark.parametrize('targets', [[1], [0]])
def test_one_entry(targets):
    keys = quantise_keys(torch.tensor([[[0.6, 0.8]]]))
    targets = torch.tensor([targets], dtype=torch.int8)
    found = kernel_votes(torch.randn(3, 1, 2), keys, targets, num_neighbours=5)
    assert torch.equal(found.present.exp(), targets.float().expand(3, 1))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_queries_of_other_types(dtype):
    queries, keys, targets = random_case()
    expected = kernel_votes(queries.to(dtype).float(), quantise_keys(keys), targets)
    found = kernel_votes(queries.to(dtype), quantise_keys(keys), targets)
    assert torch.equal(found.present, expected.present)


def test_query_that_is_not_finite():
    queries, keys, targets = random_case()
    queries[1, 0, 0] = torch.nan
    found = kernel_votes(queries, quantise_keys(keys), targets, 0.05, 7)
    assert found.present[1, 0].isnan() and found.present.isnan().sum() == 1


def test_counts():
    """An entry that counts c times is the same as c entries."""
    queries, keys, targets = random_case()
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 5, targets.shape, generator=generator)
    stored = quantise_keys(keys)
    found = kernel_votes(queries, stored, targets, 0.5, 7, counts)
    expected = oracle.votes(
        queries.tolist(), keys.tolist(), targets.tolist(), 0.5, None, counts.tolist()
    )
    torch.testing.assert_close(
        probabilities(found), torch.tensor(expected), rtol=0, atol=1e-3
    )
    for label in range(3):
        times = counts[label]
        repeated = kernel_votes(
            queries[:, [label]],
            stored[[label]].repeat_interleave(times, dim=1),
            targets[[label]].repeat_interleave(times, dim=1),
            0.5,
        )
        torch.testing.assert_close(repeated.present[:, 0], found.present[:, label])


@pytest.mark.parametrize(
    ('number', 'k'), [(1, 1), (10, 10), (100, 3), (1000, 10), (997, 7), (5000, 1000)]
)
def test_largest(number, k):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-50, 50, (2, 3, number), generator=generator).float()
    x[0, 0, : number // 2] = -torch.inf
    assert torch.equal(largest(x, k), x.topk(k).values)


@pytest.mark.parametrize('k', [None, 7])
@pytest.mark.parametrize('counted', [False, True])
def test_shares(k, counted):
    """They are those of the votes."""
    queries, keys, targets = random_case()
    stored, generator = quantise_keys(keys), torch.Generator().manual_seed(0)
    counts = torch.randint(1, 5, targets.shape, generator=generator)
    counts = counts if counted else None
    votes = kernel_votes(queries, stored, targets, 0.05, k, counts).present.exp()
    for image in range(5):
        for label in range(3):
            cosines, shares = kernel_shares(
                queries[image, label],
                stored[label],
                targets[label],
                0.05,
                k,
                None if counts is None else counts[label],
            )
            present = targets[label] == 1
            assert shares.sum().item() == pytest.approx(1)
            assert shares[present].sum().item() == pytest.approx(
                votes[image, label].item(), abs=1e-6
            )
            assert (shares[targets[label] == -1] == 0).all()
            if k is not None and not counted:
                assert (shares > 0).sum() == k
            expected = keys[label] @ unit_vectors(queries[image, label])
            torch.testing.assert_close(cosines.float(), expected, rtol=0, atol=1e-3)
