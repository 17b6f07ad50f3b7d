# SPDX-License-Identifier: Apache-2.0
from collections import deque

import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models import KnownLabelMemory


def batches(number, seed=0):
    """Embeddings with labels 0 to 3 and targets; some batches are empty."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        size = int(torch.randint(9, (), generator=generator))
        labels = torch.randint(4, (size,), generator=generator)
        targets = torch.randint(2, (size,), generator=generator)
        rows = torch.randn(size, 3, generator=generator)
        yield rows, torch.stack([labels, targets], dim=1)


def content(memory):
    return sorted((*entry, *row) for row, entry in zip(*(x.tolist() for x in memory)))


@pytest.mark.parametrize('size', [1, 4, 100])
def test_queues(size):
    """The latest entries of each label, present and absent as they came."""
    memory = MODELS.build(
        dict(type='KnownLabelMemory', size=size, num_classes=4, embed_dims=3)
    )
    queues = [deque(maxlen=size) for _ in range(4)]
    embeddings, entries = memory.read()
    assert embeddings.shape == (0, 3) and entries.shape == (0, 2)
    for embeddings, entries in batches(12):
        memory.write(embeddings, entries)
        for row, entry in zip(embeddings.tolist(), entries.tolist()):
            queues[entry[0]].append((*entry, *row))
        got = memory.read()
        assert got[1].dtype == torch.int64
        assert content(got) == sorted(entry for queue in queues for entry in queue)


def test_start():
    memory = KnownLabelMemory(5, 4, 3, start=2)
    for number, batch in enumerate(batches(3)):
        assert (memory.read() is None) == (number < 2)
        memory.write(*batch)


def test_checkpoint():
    memory, other = (KnownLabelMemory(5, 4, 3) for _ in range(2))
    for batch in batches(4):
        memory.write(*batch)
    other.load_state_dict(memory.state_dict())
    for batch in batches(2, seed=1):
        memory.write(*batch)
        other.write(*batch)
    for a, b in zip(memory.read(), other.read()):
        assert torch.equal(a, b)
    # An average of the model's buffers leaves whole numbers as they are.
    assert not any(buffer.is_floating_point() for buffer in memory.buffers())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(size=0), 'size must be positive, got 0'),
        (dict(num_classes=0), 'num_classes must be positive, got 0'),
        (dict(embed_dims=0), 'embed_dims must be positive, got 0'),
        (dict(start=-1), 'start must not be negative, got -1'),
    ],
)
def test_bad_options(change, message):
    with pytest.raises(ValueError, match=message):
        KnownLabelMemory(**(dict(size=5, num_classes=4, embed_dims=3) | change))


def test_bad_batches():
    memory = KnownLabelMemory(5, 4, 3)
    message = r'embed_dims=3, got \(1, 4\)\. Set embed_dims of the memory to out_chan'
    with pytest.raises(ValueError, match=message):
        memory.write(torch.zeros(1, 4), torch.tensor([[0, 1]]))
    with pytest.raises(ValueError, match='Got label 4, but the memory has num_classes'):
        memory.write(torch.zeros(1, 3), torch.tensor([[4, 1]]))
