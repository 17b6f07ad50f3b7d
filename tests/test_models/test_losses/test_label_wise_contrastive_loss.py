# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from mlcl_plugin.models import LabelWiseContrastiveLoss, label_wise_contrastive_loss

# (B, L) targets; the rows of a batch are its entries of 1, as in the head.
BATCHES = dict(
    no_label_at_all=[[0, 0, 0], [0, 0, 0]],
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_image=[[1, 1, 0, 1]],
    one_image_one_label=[[0, 1, 0]],
    all_labels_present=[[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    each_label_once=[[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]],
    one_label_everywhere=[[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]],
    one_pair=[[0, 1, 0], [0, 1, 0]],
    pair_and_single=[[0, 1, 1], [0, 1, 0]],
    an_image_without_label=[[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]],
    unknown_labels=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [0, 1, 1]],
)
NOTHING_ACTIVE = ('no_label_at_all', 'one_positive', 'one_image', 'each_label_once')


def oracle(embeddings, labels, temperature, negatives=()):
    """The loss from its formula, over listed pairs of plain floats."""

    def score(a, b):
        return math.fsum(x * y for x, y in zip(a, b)) / temperature

    embeddings = [row.tolist() for row in embeddings]
    labels = [int(label) for label in labels]
    negatives = [row.tolist() for row in negatives]
    losses = []
    for i, anchor in enumerate(embeddings):
        others = [a for a in range(len(embeddings)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if not positives:
            losses.append(0.0)
            continue
        scores = [score(anchor, embeddings[a]) for a in others]
        scores += [score(anchor, negative) for negative in negatives]
        top = max(scores)
        log_sum = top + math.log(math.fsum(math.exp(s - top) for s in scores))
        terms = [score(anchor, embeddings[p]) - log_sum for p in positives]
        losses.append(-math.fsum(terms) / len(positives))
    return math.fsum(losses) / len(losses) if losses else 0.0


def unit(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)


def rows_of(targets, seed=0, dtype=torch.float64, dims=5):
    """Embeddings and labels of the entries that are 1."""
    labels = [j for row in targets for j, value in enumerate(row) if value == 1]
    return unit(len(labels), dims, seed=seed, dtype=dtype), torch.tensor(
        labels, dtype=torch.long
    )


def assert_close(value, expected, tolerance=1e-10):
    assert value.ndim == 0
    assert abs(value.item() - expected) <= tolerance * max(1, abs(expected))


def test_worked_by_hand():
    # Two equal vectors of label 0 and an orthogonal one of label 1: both anchors of
    # label 0 have -log(e / (e + 1)), the third has no positive and still counts.
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    loss = label_wise_contrastive_loss(z, labels, temperature=1.0)
    assert_close(loss, 2 / 3 * math.log(1 + math.exp(-1)))

    negative = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)
    loss = label_wise_contrastive_loss(z, labels, 1.0, negative)
    assert_close(loss, 2 / 3 * math.log(1 + math.exp(-1) + math.exp(-2)))


@pytest.mark.parametrize('num_negatives', [None, 0, 1, 4])
@pytest.mark.parametrize('name', BATCHES)
def test_degenerate_batches(name, num_negatives):
    z, labels = rows_of(BATCHES[name])
    negatives = None if num_negatives is None else unit(num_negatives, 5, seed=1)
    for temperature in (0.07, 0.2, 3.0):
        loss = label_wise_contrastive_loss(z, labels, temperature, negatives)
        expected = oracle(
            z, labels, temperature, () if negatives is None else negatives
        )
        assert_close(loss, expected)
        assert (expected == 0) == (
            name in NOTHING_ACTIVE
            or name == 'one_image_one_label'
            # A pair and nothing else in its denominator.
            or (name == 'one_pair' and not num_negatives)
        )


@pytest.mark.parametrize('seed', range(40))
def test_random_batches(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(high):
        return int(torch.randint(high, (), generator=generator))

    num_images, num_labels, dims = 1 + draw(6), 1 + draw(7), 2 + draw(6)
    density = 0.1 + 0.8 * torch.rand((), generator=generator)
    targets = torch.rand(num_images, num_labels, generator=generator) < density
    z, labels = rows_of(targets.int().tolist(), seed, dims=dims)
    negatives = unit(draw(5), dims, seed=seed + 1) if seed % 2 else None
    temperature = 10 ** float(2 * torch.rand((), generator=generator) - 1.5)
    loss = label_wise_contrastive_loss(z, labels, temperature, negatives)
    assert loss.dtype == torch.float64
    assert_close(
        loss, oracle(z, labels, temperature, () if negatives is None else negatives)
    )


@pytest.mark.parametrize('num_negatives', [0, 3])
@pytest.mark.parametrize(
    'name', ['an_image_without_label', 'each_label_once', 'one_pair', 'one_positive']
)
def test_gradcheck(name, num_negatives):
    z, labels = rows_of(BATCHES[name], dims=3)
    negatives = unit(num_negatives, 3, seed=1) if num_negatives else None
    inputs = [z.requires_grad_()]
    if negatives is not None:
        inputs.append(negatives.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda z, n=None: label_wise_contrastive_loss(z, labels, 0.3, n), inputs
    )


@pytest.mark.parametrize('num_negatives', [None, 0, 2])
@pytest.mark.parametrize('name', NOTHING_ACTIVE)
def test_zero_with_live_graph(name, num_negatives):
    """Nothing to pull: the loss is 0 and every gradient is 0, not None."""
    labels = rows_of(BATCHES[name])[1]
    z = unit(len(labels), 5).requires_grad_()
    negatives = None
    if num_negatives is not None:
        negatives = unit(num_negatives, 5, seed=1).requires_grad_()
    loss = label_wise_contrastive_loss(z, labels, 0.2, negatives)
    assert loss.item() == 0
    loss.backward()
    for leaf in (z, negatives):
        if leaf is not None:
            assert leaf.grad is not None
            assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_negatives_are_no_anchors_and_raise_the_loss():
    z, labels = rows_of(BATCHES['pair_and_single'])
    negatives = unit(2, 5, seed=1).requires_grad_()
    without = label_wise_contrastive_loss(z, labels)
    with_negatives = label_wise_contrastive_loss(z, labels, negatives=negatives)
    assert with_negatives > without
    with_negatives.backward()
    # A step against the gradient moves them off the anchors with a positive.
    moved = negatives.detach() - 0.1 * negatives.grad
    assert ((moved - negatives.detach()) @ z[labels == 1].sum(0) < 0).all()


@pytest.mark.parametrize('temperature', [1e-4, 1e-3, 0.01, 0.2, 1.0, 30.0, 1e3])
def test_temperatures(temperature):
    z, labels = rows_of(BATCHES['an_image_without_label'], dtype=torch.float32)
    negatives = unit(3, 5, seed=1, dtype=torch.float32)
    z.requires_grad_()
    loss = label_wise_contrastive_loss(z, labels, temperature, negatives)
    expected = oracle(z.detach().double(), labels, temperature, negatives.double())
    assert_close(loss, expected, 1e-5)
    loss.backward()
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


def test_extreme_temperature():
    z, labels = rows_of(BATCHES['an_image_without_label'], dtype=torch.float32)
    loss = label_wise_contrastive_loss(z, labels, 1e-30)
    assert loss.isfinite()
    assert_close(loss, oracle(z.double(), labels, 1e-30), 1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_inputs(dtype):
    z32, labels = rows_of(BATCHES['an_image_without_label'], dtype=torch.float32)
    n32 = unit(3, 5, seed=1, dtype=torch.float32)
    z, n = z32.to(dtype).requires_grad_(), n32.to(dtype).requires_grad_()
    loss = label_wise_contrastive_loss(z, labels, 0.05, n)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert z.grad.dtype == n.grad.dtype == dtype

    # Same as float32 on the rounded values: nothing more is lost inside.
    zr, nr = (t.detach().float().requires_grad_() for t in (z, n))
    rounded = label_wise_contrastive_loss(zr, labels, 0.05, nr)
    rounded.backward()
    torch.testing.assert_close(loss, rounded)
    torch.testing.assert_close(z.grad, zr.grad.to(dtype))
    torch.testing.assert_close(n.grad, nr.grad.to(dtype))

    z32.requires_grad_()
    full = label_wise_contrastive_loss(z32, labels, 0.05, n32)
    full.backward()
    torch.testing.assert_close(loss, full, rtol=0.02, atol=0)
    error = (z.grad.float() - z32.grad).norm() / z32.grad.norm()
    assert error < 0.05


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    """Autocast does not reach into the loss."""
    z, labels = rows_of(BATCHES['an_image_without_label'], dtype=torch.float32)
    n = unit(3, 5, seed=1, dtype=torch.float32)
    results = []
    for enabled in (False, True):
        leaves = [z.clone().requires_grad_(), n.clone().requires_grad_()]
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            assert (leaves[0] @ leaves[1].T).dtype == (
                dtype if enabled else torch.float32
            )
            loss = label_wise_contrastive_loss(leaves[0], labels, 0.01, leaves[1])
        loss.backward()
        results.append([loss.detach(), leaves[0].grad, leaves[1].grad])
    for plain, cast in zip(*results):
        assert cast.dtype == torch.float32
        assert torch.equal(plain, cast)
        assert cast.isfinite().all()


def test_invariant_to_order_and_names():
    z, labels = rows_of(BATCHES['an_image_without_label'])
    n = unit(4, 5, seed=1)
    loss = label_wise_contrastive_loss(z, labels, negatives=n)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(z), generator=generator)
        shuffled = label_wise_contrastive_loss(
            z[order], labels[order], negatives=n.flip(0)
        )
        torch.testing.assert_close(shuffled, loss, rtol=1e-12, atol=0)
    names = torch.tensor([79, 3, 1000])
    renamed = label_wise_contrastive_loss(z, names[labels], negatives=n)
    torch.testing.assert_close(renamed, loss, rtol=1e-12, atol=0)


def test_large_batch_float32():
    labels = torch.arange(400) % 7
    z = unit(400, 16)
    loss = label_wise_contrastive_loss(z.float(), labels, 0.1)
    assert_close(loss, oracle(z.float().double(), labels, 0.1), 1e-5)


def test_inputs_stay_as_they_are():
    z, labels = rows_of(BATCHES['pair_and_single'])
    n = unit(2, 5, seed=1)
    before = z.clone(), labels.clone(), n.clone()
    label_wise_contrastive_loss(z, labels, 0.2, n)
    assert all(torch.equal(a, b) for a, b in zip(before, (z, labels, n)))


def test_gradient_steps_let_the_loss_fall():
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    x = unit(8, 4).requires_grad_()
    optimizer = torch.optim.SGD([x], lr=0.5)
    losses = []
    for _ in range(20):
        loss = label_wise_contrastive_loss(F.normalize(x, dim=1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(b < a for a, b in zip(losses, losses[1:]))
    assert losses[-1] < 0.6 * losses[0]
    z = F.normalize(x.detach(), dim=1)
    for i in range(8):
        same = [z[i] @ z[j] for j in range(8) if j != i and labels[j] == labels[i]]
        other = [z[i] @ z[j] for j in range(8) if labels[j] != labels[i]]
        assert sum(same) / len(same) > sum(other) / len(other) + 0.5


@pytest.mark.parametrize(
    'temperature', [0, 0.0, -1, -0.2, math.nan, math.inf, -math.inf]
)
def test_bad_temperature(temperature):
    z, labels = rows_of(BATCHES['one_pair'])
    with pytest.raises(ValueError, match=f'temperature.*{temperature}'):
        label_wise_contrastive_loss(z, labels, temperature)
    with pytest.raises(ValueError, match='temperature'):
        LabelWiseContrastiveLoss(temperature=temperature)
    # Not only once there is something to divide.
    with pytest.raises(ValueError, match='temperature'):
        label_wise_contrastive_loss(z[:0], labels[:0], temperature)


@pytest.mark.parametrize(
    ('shape', 'label_shape'),
    [
        ((4,), (4,)),
        ((2, 4, 3), (2, 4)),
        ((4, 3), (3,)),
        ((4, 3), (4, 1)),
        ((0, 3), (1,)),
    ],
)
def test_bad_shapes(shape, label_shape):
    with pytest.raises(ValueError, match=r'embeddings \(N, D\) and labels \(N,\)'):
        label_wise_contrastive_loss(
            torch.zeros(shape), torch.zeros(label_shape, dtype=torch.long)
        )


@pytest.mark.parametrize('num_rows', [1, 4])
@pytest.mark.parametrize('shape', [(3,), (5, 2), (2, 5, 3)])
def test_bad_negatives(shape, num_rows):
    labels = torch.zeros(num_rows, dtype=torch.long)
    with pytest.raises(ValueError, match=r'negatives \(M, 3\)'):
        label_wise_contrastive_loss(
            unit(num_rows, 3), labels, negatives=torch.zeros(shape).double()
        )


def test_module():
    z, labels = rows_of(BATCHES['an_image_without_label'])
    n = unit(3, 5, seed=1)
    module = MODELS.build(dict(type='LabelWiseContrastiveLoss'))
    assert (module.temperature, module.loss_weight) == (0.2, 0.5)
    assert_close(module(z, labels), 0.5 * oracle(z, labels, 0.2))

    module = LabelWiseContrastiveLoss(temperature=0.7, loss_weight=3.0)
    assert_close(module(z, labels, n), 3 * oracle(z, labels, 0.7, n))
    assert 'temperature=0.7, loss_weight=3.0' in repr(module)
    assert not list(module.parameters()) and not module.state_dict()


@pytest.mark.parametrize('loss_weight', [-0.1, math.nan, math.inf])
def test_bad_loss_weight(loss_weight):
    with pytest.raises(ValueError, match='loss_weight'):
        LabelWiseContrastiveLoss(loss_weight=loss_weight)


def leaves_of(*tensors):
    return [t.clone().requires_grad_() for t in tensors if t is not None]


@pytest.mark.parametrize('temperature', [0.2, 0.01])
@pytest.mark.parametrize('block_size', [1, 2, 5, 16, 37, 38])
def test_blocks(block_size, temperature):
    """Blocks of any size, also with a rest: the value and gradients of one block.

    The temperatures stand for the two ways: without and with a maximum a row.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(6, (37,), generator=generator)
    inputs = unit(37, 5), unit(8, 5, seed=1)
    memory = unit(19, 5, seed=2), torch.randint(8, (19,), generator=generator)
    results = []
    for size in (block_size, 1024):
        z, n = leaves_of(*inputs)
        loss = label_wise_contrastive_loss(
            z, labels, temperature, n, memory, block_size=size
        )
        results.append([loss, *torch.autograd.grad(loss, [z, n])])
    for blocks, whole in zip(*results):
        torch.testing.assert_close(blocks, whole, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize('temperature', [0.3, 0.004])
@pytest.mark.parametrize('block_size', [3, 1024])
def test_gradcheck_of_blocks(block_size, temperature):
    labels = torch.tensor([0, 1, 1, 0, 2, 1, 3])
    memory = unit(4, 3, seed=2), torch.tensor([0, 2, 2, 5])
    # Small steps: at 0.004 the loss bends sharply.
    assert torch.autograd.gradcheck(
        lambda z, n: label_wise_contrastive_loss(
            z, labels, temperature, n, memory, block_size=block_size
        ),
        leaves_of(unit(7, 3), unit(2, 3, seed=1)),
        eps=1e-8,
        atol=1e-3,
        rtol=1e-3,
    )


def oracle_with_memory(z, labels, temperature, keys, key_labels):
    """Anchors in the batch; positives and denominators in batch and memory."""
    total, everything = 0.0, torch.cat([z, keys])
    all_labels = [*labels.tolist(), *key_labels.tolist()]
    for i in range(len(z)):
        scores = {
            a: float(z[i] @ everything[a]) / temperature
            for a in range(len(everything))
            if a != i
        }
        positives = [a for a in scores if all_labels[a] == all_labels[i]]
        log_sum = math.log(math.fsum(map(math.exp, scores.values())))
        for p in positives:
            total -= (scores[p] - log_sum) / len(positives)
    return total / len(z)


@pytest.mark.parametrize('seed', range(5))
def test_memory(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (6,), generator=generator)
    key_labels = torch.randint(6, (7,), generator=generator)
    z, keys = unit(6, 4, seed=seed), unit(7, 4, seed=seed + 1)
    loss = label_wise_contrastive_loss(z, labels, 0.3, memory=(keys, key_labels))
    assert_close(loss, oracle_with_memory(z, labels, 0.3, keys, key_labels))


def test_a_single_embedding_with_memory():
    z, keys = unit(1, 4), unit(3, 4, seed=1)
    labels, key_labels = torch.tensor([2]), torch.tensor([2, 2, 0])
    loss = label_wise_contrastive_loss(z, labels, 0.3, memory=(keys, key_labels))
    assert_close(loss, oracle_with_memory(z, labels, 0.3, keys, key_labels))
    assert loss > 0


def test_vectors_that_are_no_unit_vectors():
    """Large similarities are as safe as low temperatures."""
    z, labels = rows_of(BATCHES['an_image_without_label'], dtype=torch.float32)
    z = (z * 40).requires_grad_()
    loss = label_wise_contrastive_loss(z, labels, 0.2)
    assert_close(loss, oracle(z.detach().double(), labels, 0.2), 1e-5)
    loss.backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize('temperature', [0.2, 0.001])
def test_nan_is_not_hidden(temperature):
    z, labels = rows_of(BATCHES['an_image_without_label'])
    z[1, 0] = math.nan
    assert label_wise_contrastive_loss(z, labels, temperature).isnan()


def test_no_matrix_of_all_pairs():
    """The largest tensor is a block, forward and backward."""
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes.append(out.numel())
            return out

    z, labels = unit(300, 4).requires_grad_(), torch.arange(300) % 9
    with Watch():
        label_wise_contrastive_loss(z, labels, block_size=64).backward()
        label_wise_contrastive_loss(z, labels, 0.001, block_size=64).backward()
    assert max(sizes) <= 64 * 64


def test_deterministic():
    z, labels = unit(300, 8, dtype=torch.float32), torch.arange(300) % 9
    results = []
    for _ in range(2):
        (x,) = leaves_of(z)
        loss = label_wise_contrastive_loss(x, labels, block_size=64)
        results.append((loss.detach(), *torch.autograd.grad(loss, x)))
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_backward_twice():
    (z,), labels = leaves_of(unit(9, 4)), torch.arange(9) % 3
    loss = label_wise_contrastive_loss(z, labels)
    first = torch.autograd.grad(loss, z, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(loss, z)[0])


@pytest.mark.slow
def test_compile():
    """A break in the graph, and the same numbers, whatever the number of rows."""

    def step(x, labels):
        return label_wise_contrastive_loss(F.normalize(x.tanh(), dim=1), labels)

    compiled = torch.compile(step)
    for number in (9, 20):
        (x,), labels = leaves_of(unit(number, 4)), torch.arange(number) % 3
        got, expected = compiled(x, labels), step(x, labels)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(
            torch.autograd.grad(got, x), torch.autograd.grad(expected, x)
        )


@pytest.mark.parametrize('block_size', [0, -1])
def test_bad_block_size(block_size):
    z, labels = rows_of(BATCHES['one_pair'])
    with pytest.raises(ValueError, match=f'block_size must be positive.*{block_size}'):
        label_wise_contrastive_loss(z, labels, block_size=block_size)


def test_bad_labels():
    z = unit(3, 4)
    with pytest.raises(ValueError, match='labels must not be negative, got -1'):
        label_wise_contrastive_loss(z, torch.tensor([0, -1, 1]))


@pytest.mark.parametrize(
    ('keys', 'labels'), [((4, 3), (3,)), ((4, 2), (4,)), ((4,), (4,))]
)
def test_bad_memory(keys, labels):
    with pytest.raises(ValueError, match=r'a memory of \(K, 3\)'):
        label_wise_contrastive_loss(
            unit(2, 3),
            torch.zeros(2, dtype=torch.long),
            memory=(torch.zeros(keys), torch.zeros(labels, dtype=torch.long)),
        )
