# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mlcl_plugin.inference.nearest_rows import nearest_rows


def oracle(queries, rows, number):
    """All products, sorted; of equal ones the earlier row first."""
    found = []
    for query in queries.tolist():
        products = [sum(a * b for a, b in zip(query, row)) for row in rows.tolist()]
        order = sorted(range(len(products)), key=lambda n: (-products[n], n))[:number]
        found.append([(order[n], products[order[n]]) for n in range(len(order))])
    return found


def part(rows):
    return lambda first, last: rows[first:last]


@pytest.mark.parametrize('chunk', [1, 3, 7, 100])
@pytest.mark.parametrize('number', [1, 4, 50])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_oracle(chunk, number, dtype):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 5, generator=generator, dtype=dtype)
    queries = torch.randn(3, 5, generator=generator, dtype=dtype)
    products, places = nearest_rows(queries, part(rows), len(rows), number, chunk)
    for query, expected in enumerate(oracle(queries, rows, number)):
        assert places[query].tolist() == [place for place, _ in expected]
        assert products[query].tolist() == pytest.approx(
            [value for _, value in expected], abs=1e-5
        )


@pytest.mark.parametrize('chunk', [1, 2, 5, 30, 100])
def test_equal_products(chunk):
    """The earlier rows come first, whatever the parts are."""
    rows = torch.ones(60, 2)
    rows[1::3] = 2
    _, places = nearest_rows(torch.ones(2, 2), part(rows), 60, 25, chunk)
    expected = [*range(1, 60, 3), 0, 2, 3, 5, 6]
    assert places.tolist() == [expected] * 2


@pytest.mark.parametrize('chunk', [1, 4, 100])
def test_rows_that_may_be_found(chunk):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 5, generator=generator)
    queries = torch.randn(3, 5, generator=generator)
    allowed = torch.rand(40, generator=generator) < 0.4
    _, places = nearest_rows(queries, part(rows), 40, 6, chunk, allowed)
    kept = allowed.nonzero()[:, 0]
    _, expected = nearest_rows(queries, part(rows[kept]), len(kept), 6)
    assert places.tolist() == kept[expected].tolist()
    none = torch.zeros(40, dtype=torch.bool)
    assert nearest_rows(queries, part(rows), 40, 6, chunk, none)[1].shape == (3, 0)


def test_no_rows():
    products, places = nearest_rows(torch.ones(2, 3), part(torch.ones(0, 3)), 0, 5)
    assert products.shape == places.shape == (2, 0)


@pytest.mark.parametrize('options', [dict(number=0), dict(number=1, chunk=0)])
def test_errors(options):
    with pytest.raises(ValueError, match='must be positive, got number='):
        nearest_rows(torch.ones(1, 2), part(torch.ones(3, 2)), 3, **options)
