# SPDX-License-Identifier: Apache-2.0
"""What heads hand to contrastive losses, and what each kind takes of it."""

import math

import pytest
import torch
from torch import nn

from mlcl_plugin.models import (
    ContrastiveLoss,
    ImageContrast,
    KnownLabelContrast,
    PresentLabelContrast,
)
from mlcl_plugin.models.losses import (
    ContrastInputs,
    ImageEmbeddingMemory,
    Memory,
    Projections,
    TemperatureLoss,
)
from mlcl_plugin.models.losses.base import (
    at_least_float32,
    check_loss_weight,
    check_temperature,
)

TARGETS = torch.tensor([[1.0, 0, -1], [0, 1, 1], [-1, -1, 0]])
LOGITS = torch.tensor([[9.0, 3, 8], [2, 9, 9], [7, 6, 1]])


class Recorder:
    """Projections that are told apart by their values, and what was asked for."""

    def __init__(self, offset=0.0):
        self.offset, self.calls = offset, []

    def images(self):
        self.calls.append(('images', torch.is_grad_enabled()))
        return self.offset + torch.arange(3.0)[:, None]

    def labels(self, images, labels):
        self.calls.append((images.tolist(), labels.tolist(), torch.is_grad_enabled()))
        return self.offset + (10 * images + labels).float()[:, None]

    def projections(self):
        return Projections(self.images, self.labels)


def inputs(keys=None, min_size=0):
    own = Recorder()
    given = None if keys is None else keys.projections()
    return own, ContrastInputs(TARGETS, LOGITS, own.projections(), given, min_size)


def recording(kind, **attributes):
    """A loss of a kind that keeps what it gets; its value is 5."""

    def compute(self, *args, **kwargs):
        self.got = args, kwargs
        return args[0].sum() * 0 + 5

    return type('Recording', (kind,), dict(compute=compute, **attributes))(1.0, 0.5)


# --- the three kinds -------------------------------------------------------------


def test_present_labels():
    loss = recording(PresentLabelContrast)
    own, given = inputs()
    assert loss.contrast(given).item() == 2.5
    (embeddings, labels), extra = loss.got
    assert embeddings.flatten().tolist() == [0, 11, 12]
    assert labels.tolist() == [0, 1, 2]
    assert extra == {} and len(own.calls) == 1


def test_present_labels_with_negatives_and_keys():
    loss = recording(PresentLabelContrast, takes_negatives=True)
    keys = Recorder(offset=100)
    own, given = inputs(keys, min_size=5)
    loss.contrast(given)
    (embeddings, labels), extra = loss.got
    assert embeddings.flatten().tolist() == [0, 11, 12]
    # Two are missing; the absent labels with the largest logits are (0, 1), (1, 0).
    assert extra.keys() == {'negatives', 'keys'}
    assert extra['negatives'].flatten().tolist() == [1, 10]
    assert extra['keys'].flatten().tolist() == [100, 111, 112]
    assert keys.calls == [([0, 1, 1], [0, 1, 2], False)]
    assert all(call[-1] for call in own.calls)


@pytest.mark.parametrize(
    ('min_size', 'expected'), [(0, []), (3, []), (4, [1]), (6, [1, 10, 22]), (99, 3)]
)
def test_hardest_absent(min_size, expected):
    _, given = inputs(min_size=min_size)
    images, labels = given.hardest_absent(num_present=3, across_processes=False)
    places = (10 * images + labels).tolist()
    assert places == expected or len(places) == expected


def test_known_labels():
    loss = recording(KnownLabelContrast)
    _, given = inputs()
    assert loss.contrast(given).item() == 2.5
    (embeddings, labels, present), extra = loss.got
    assert embeddings.flatten().tolist() == [0, 1, 10, 11, 12, 22]
    assert labels.tolist() == [0, 1, 0, 1, 2, 2]
    assert present.tolist() == [True, False, False, True, True, False]
    assert extra == {}


def test_known_labels_that_are_selected():
    loss = recording(KnownLabelContrast, select=lambda self, targets: targets == 0)
    loss.contrast(inputs()[1])
    (embeddings, labels, present), _ = loss.got
    assert embeddings.flatten().tolist() == [1, 10, 22]
    assert labels.tolist() == [1, 0, 2] and not present.any()


def test_known_labels_with_keys():
    loss = recording(KnownLabelContrast)
    keys = Recorder(offset=100)
    loss.contrast(inputs(keys)[1])
    _, extra = loss.got
    assert extra.keys() == {'keys'}
    assert extra['keys'].flatten().tolist() == [100, 101, 110, 111, 112, 122]
    assert keys.calls == [([0, 0, 1, 1, 1, 2], [0, 1, 0, 1, 2, 2], False)]


@pytest.mark.parametrize('kind', [KnownLabelContrast, ImageContrast])
def test_kinds_without_negatives(kind):
    message = f'^Recording sets takes_negatives=True, but it contrasts {kind.consumes}'
    with pytest.raises(ValueError, match=message):
        recording(kind, takes_negatives=True)
    # A loss with a contrast of its own may pass them.
    recording(kind, takes_negatives=True, passes_negatives=True)


@pytest.mark.parametrize(
    ('kind', 'arguments'),
    [
        (PresentLabelContrast, 'embeddings, labels'),
        (KnownLabelContrast, 'embeddings, labels, present'),
        (ImageContrast, 'embeddings, targets, keys'),
    ],
)
def test_a_loss_without_compute(kind, arguments):
    class Unfinished(kind):
        pass

    message = rf'^Unfinished has no compute\({arguments}\), .* see docs/extend\.md'
    with pytest.raises(NotImplementedError, match=message):
        Unfinished(1.0).contrast(inputs()[1])


@pytest.mark.parametrize('with_keys', [False, True])
def test_images(with_keys):
    loss = recording(ImageContrast)
    keys = Recorder(offset=100) if with_keys else None
    own, given = inputs(keys)
    assert loss.contrast(given).item() == 2.5
    (embeddings, targets), extra = loss.got
    assert embeddings.flatten().tolist() == [0, 1, 2] and targets is TARGETS
    assert own.calls == [('images', True)]
    if with_keys:
        assert extra['keys'].flatten().tolist() == [100, 101, 102]
        assert keys.calls == [('images', False)]
    else:
        assert extra == dict(keys=None)


def test_a_loss_of_no_kind_chooses_by_itself():
    class OfLogits(ContrastiveLoss):
        def contrast(self, inputs):
            return self.loss_weight * inputs.logits.mean()

    assert OfLogits(1.0, 2.0).contrast(inputs()[1]).item() == 12
    with pytest.raises(NotImplementedError, match=r'has no contrast\(inputs\)'):
        ContrastiveLoss(1.0).contrast(inputs()[1])


def test_what_kinds_say_of_themselves():
    assert PresentLabelContrast.consumes == 'the embeddings of present labels'
    assert KnownLabelContrast.consumes == 'the embeddings of known labels'
    assert ImageContrast.consumes == 'whole images'
    assert not ContrastiveLoss.takes_negatives


# --- weight, temperature, float32 --------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_under_autocast(dtype):
    class OfProducts(PresentLabelContrast):
        def compute(self, embeddings, labels):
            self.seen = embeddings.dtype
            return (embeddings @ embeddings.T).sum()

    z, labels = torch.randn(3, 4), torch.arange(3)
    loss = OfProducts(1.0)
    expected = loss(z, labels)
    with torch.autocast('cpu', torch.bfloat16):
        assert (z @ z.T).dtype == torch.bfloat16
        assert torch.equal(loss(z, labels), expected)
    z = z.to(dtype).requires_grad_()
    loss(z, labels).backward()
    assert loss.seen == torch.float32 and z.grad.dtype == dtype
    assert loss(z.double(), labels).dtype == torch.float64


def test_at_least_float32():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert at_least_float32(torch.zeros(1, dtype=dtype)).dtype == torch.float32
    x = torch.zeros(1, dtype=torch.float64)
    assert at_least_float32(x) is x


@pytest.mark.parametrize(
    'value', [0, -0.1, math.inf, math.nan, True, '0.2', None, torch.tensor(1.0)]
)
def test_bad_temperature(value):
    message = 'base must be a positive, finite number, got '
    with pytest.raises(ValueError, match=message):
        check_temperature(value, 'base')
    with pytest.raises(ValueError, match='^temperature must be a positive'):
        TemperatureLoss(value)


@pytest.mark.parametrize('value', [-0.1, math.inf, math.nan])
def test_bad_weight(value):
    message = f'loss_weight must be finite and not negative, got {value}'
    with pytest.raises(ValueError, match=message):
        check_loss_weight(value)
    with pytest.raises(ValueError, match=message):
        PresentLabelContrast(1.0, value)


def test_repr():
    assert repr(TemperatureLoss(0.5, 2.0)) == (
        'TemperatureLoss(temperature=0.5, loss_weight=2.0)'
    )
    assert repr(PresentLabelContrast(0.5)) == (
        'PresentLabelContrast(temperature=0.5, loss_weight=1.0, across_processes=False)'
    )


# --- memory ------------------------------------------------------------------------


def test_memory():
    config = dict(type='ImageEmbeddingMemory', size=4, num_classes=3, embed_dims=1)
    loss = ImageContrast(1.0, memory=config)
    assert type(loss.memory) is ImageEmbeddingMemory and isinstance(loss.memory, Memory)
    vectors = torch.tensor([[1.0], [2.0], [3.0]])
    loss.eval().remember(vectors, TARGETS)
    assert len(loss.recall()[0]) == 0
    loss.train().remember(vectors, TARGETS)
    assert torch.equal(loss.recall()[0], vectors)
    assert torch.equal(loss.recall()[1], TARGETS)


def test_no_memory():
    loss = ImageContrast(1.0)
    loss.remember(torch.zeros(1, 2), torch.zeros(1, 3))
    assert loss.memory is None and loss.recall() is None


def test_memories_must_read_and_write():
    class Nothing(Memory):
        pass

    with pytest.raises(NotImplementedError):
        Nothing().read()
    with pytest.raises(NotImplementedError):
        Nothing().write(torch.zeros(1, 2), torch.zeros(1))
    assert isinstance(Nothing(), nn.Module)
