# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch

from mlcl_plugin.inference.batching import chunk, collate
from mlcl_plugin.inference.reader import Item
from mlcl_plugin.inference.sources import Source


def test_chunk():
    assert list(chunk('abcde', 2)) == [['a', 'b'], ['c', 'd'], ['e']]
    assert list(chunk('', 2)) == []


def test_chunk_is_lazy():
    asked = []
    chunks = chunk((asked.append(n) or n for n in range(9)), 2)
    next(chunks)
    assert asked == [0, 1]


def test_collate():
    """Groups of one size; errors and pixels stay out."""
    sizes = [(2, 2), None, (3, 2), (2, 2)]
    items = []
    for number, size in enumerate(sizes):
        source = Source(f'array {number}', np.zeros(size or (1, 1), np.uint8))
        if size is None:
            items.append(Item(source, error='broken'))
        else:
            inputs = torch.full((3, *size), number, dtype=torch.uint8)
            items.append(Item(source, dict(inputs=inputs)))
    batch = collate(items)
    assert [places for places, _ in batch.groups] == [[0, 3], [2]]
    for places, data in batch.groups:
        assert data['inputs'][:, 0, 0, 0].tolist() == places
    assert [item.source.name for item in batch.items] == [
        f'array {number}' for number in range(4)
    ]
    assert all(item.data is None and item.source.image == '' for item in batch.items)
    assert batch.items[1].error == 'broken'
