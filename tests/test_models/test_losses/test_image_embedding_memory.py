# SPDX-License-Identifier: Apache-2.0
from collections import deque

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.models.losses.image_embedding_memory import ImageEmbeddingMemory


def build(size=5, **kwargs):
    return ImageEmbeddingMemory(size, num_classes=4, embed_dims=3, **kwargs)


def batches(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        size = int(torch.randint(7, (), generator=generator))
        targets = torch.randint(-1, 2, (size, 4), generator=generator).float()
        targets[targets.sum(1) > 2] = -1
        yield torch.randn(size, 3, generator=generator), targets


def content(memory):
    embeddings, targets = memory.read()
    return sorted(zip(map(tuple, embeddings.tolist()), map(tuple, targets.tolist())))


@pytest.mark.parametrize('size', [1, 4, 7, 100])
def test_queue(size):
    memory = MODELS.build(
        dict(type='ImageEmbeddingMemory', size=size, num_classes=4, embed_dims=3)
    )
    queue, skipped = deque(maxlen=size), 0
    assert memory.read()[0].shape == (0, 3) and memory.read()[1].shape == (0, 4)
    for embeddings, targets in batches(12):
        memory.write(embeddings, targets)
        for row, labels in zip(embeddings.tolist(), targets.tolist()):
            if max(labels) < 0:
                skipped += 1
            else:
                queue.append((tuple(row), tuple(labels)))
        assert content(memory) == sorted(queue)
    assert skipped > 2 and len(queue) == min(size, len(queue))


def test_what_is_kept_exactly():
    """Soft targets and half-precision embeddings as they are."""
    memory = build()
    embeddings = torch.randn(2, 3).bfloat16()
    targets = torch.tensor([[1, 0.3, -1, 0], [0, 0, 0, 0]])
    memory.write(embeddings, targets)
    got = memory.read()
    assert torch.equal(got[0], embeddings.float()) and torch.equal(got[1], targets)


def test_start():
    memory = build(start=2)
    for number, batch in enumerate(batches(4)):
        assert (memory.read() is None) == (number < 2)
        memory.write(*batch)


def test_checkpoint():
    memory, resumed = build(), build()
    stream = list(batches(6))
    for batch in stream[:3]:
        memory.write(*batch)
    resumed.load_state_dict(memory.state_dict())
    for batch in stream[3:]:
        memory.write(*batch)
        resumed.write(*batch)
    assert len(content(memory)) == 5
    for name, value in memory.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_ema_does_not_average_it():
    model = nn.ModuleDict(dict(memory=build()))
    ema = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    for batch in batches(4):
        ema.update_parameters(model)
        model['memory'].write(*batch)
    # It is as it was at the first update.
    assert len(ema.module['memory'].read()[0]) == 0
    assert len(model['memory'].read()[0]) == 5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=0), 'size must be positive, got 0'),
        (dict(embed_dims=-1), 'embed_dims must be positive, got -1'),
        (dict(num_classes=0), 'num_classes must be positive, got 0'),
        (dict(start=-1), 'start must not be negative, got -1'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ImageEmbeddingMemory(**{**dict(size=2, num_classes=4), **options})


@pytest.mark.parametrize(
    ('shape', 'target_shape'),
    [((2, 4), (2, 4)), ((2, 3), (2, 3)), ((2, 3), (1, 4)), ((2, 3), (2,))],
)
def test_bad_content(shape, target_shape):
    memory = build()
    with pytest.raises(ValueError, match='embed_dims=3 with targets of num_classes=4'):
        memory.write(torch.zeros(shape), torch.zeros(target_shape))
    assert len(memory.read()[0]) == 0
