# SPDX-License-Identifier: Apache-2.0
from collections import deque

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.models import EmbeddingMemory, LabelWiseContrastiveLoss
from mlcl_plugin.models.losses import label_wise_contrastive_loss


def batches(number, num_labels, seed=0, largest=9):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        size = int(torch.randint(largest + 1, (), generator=generator))
        yield (
            torch.randn(size, 3, generator=generator),
            torch.randint(num_labels, (size,), generator=generator),
        )


def content(memory):
    embeddings, labels = memory.read()
    return sorted(zip(labels.tolist(), map(tuple, embeddings.tolist())))


@pytest.mark.parametrize('size', [1, 4, 7, 100])
@pytest.mark.parametrize('num_classes', [None, 4])
def test_queues(size, num_classes):
    """As one deque for all, or one for each label."""
    memory = EmbeddingMemory(size, embed_dims=3, num_classes=num_classes)
    queues = {}
    for embeddings, labels in batches(12, 4):
        memory.write(embeddings, labels)
        for row, label in zip(embeddings.tolist(), labels.tolist()):
            queue = queues.setdefault(label if num_classes else 0, deque(maxlen=size))
            queue.append((label, tuple(row)))
        assert content(memory) == sorted(e for queue in queues.values() for e in queue)


def test_start():
    memory = EmbeddingMemory(8, embed_dims=3, start=2)
    for number, (embeddings, labels) in enumerate(batches(4, 3)):
        assert (memory.read() is None) == (number < 2)
        memory.write(embeddings, labels)


def test_in_the_loss():
    """Earlier batches are positives and negatives, this one not; no gradient."""
    config = dict(type='EmbeddingMemory', size=20, embed_dims=3)
    module = LabelWiseContrastiveLoss(0.3, loss_weight=2.0, memory=config)
    earlier = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    for embeddings, labels in batches(3, 2, seed=1):
        embeddings.requires_grad_()
        loss = module(embeddings, labels)
        expected = label_wise_contrastive_loss(embeddings, labels, 0.3, memory=earlier)
        torch.testing.assert_close(loss, 2 * expected)
        earlier = (
            torch.cat([earlier[0], embeddings.detach()]),
            torch.cat([earlier[1], labels]),
        )
    assert not module.memory.read()[0].requires_grad

    module.eval()
    before = content(module.memory)
    module(torch.eye(3), torch.tensor([0, 0, 1]))
    assert content(module.memory) == before


def test_keys_are_remembered_in_place_of_embeddings():
    module = LabelWiseContrastiveLoss(
        memory=dict(type='EmbeddingMemory', size=9, embed_dims=3)
    )
    keys = torch.eye(3).flip(0)
    module(torch.eye(3), torch.tensor([0, 0, 1]), keys=keys)
    embeddings, labels = module.memory.read()
    assert torch.equal(embeddings, keys) and labels.tolist() == [0, 0, 1]


def test_checkpoint():
    memory = EmbeddingMemory(5, embed_dims=3, num_classes=4)
    stream = list(batches(6, 4))
    for batch in stream[:3]:
        memory.write(*batch)
    resumed = EmbeddingMemory(5, embed_dims=3, num_classes=4)
    resumed.load_state_dict(memory.state_dict())
    for batch in stream[3:]:
        memory.write(*batch)
        resumed.write(*batch)
    for name, value in memory.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_ema_does_not_average_it():
    """An average of embeddings of different labels would be neither's."""
    model = nn.ModuleDict(dict(memory=EmbeddingMemory(5, embed_dims=3)))
    ema = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    for batch in batches(3, 4):
        ema.update_parameters(model)
        model['memory'].write(*batch)
    # It is as it was at the first update.
    assert len(ema.module['memory'].read()[0]) == 0
    assert len(model['memory'].read()[0]) == 5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=0), 'size must be positive, got 0'),
        (dict(size=1, embed_dims=-1), 'embed_dims must be positive, got -1'),
        (dict(size=1, num_classes=0), 'num_classes must be positive, got 0'),
        (dict(size=1, start=-1), 'start must not be negative, got -1'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='EmbeddingMemory', **options))


def test_bad_content():
    memory = EmbeddingMemory(2, embed_dims=3, num_classes=4)
    with pytest.raises(ValueError, match='embed_dims=3, got'):
        memory.write(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match='label 4.*num_classes=4'):
        memory.write(torch.zeros(1, 3), torch.tensor([4]))
    assert len(memory.read()[0]) == 0
