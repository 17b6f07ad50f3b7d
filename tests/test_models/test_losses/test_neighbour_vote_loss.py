# SPDX-License-Identifier: Apache-2.0
import importlib.util
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.models import (
    LabelNeighbours,
    LabelWiseClsHead,
    MultiViewDataPreprocessor,
    NeighbourVoteLoss,
    neighbour_vote_loss,
)
from mlcl_plugin.models.losses.neighbour_vote_loss import Remembered

SCRIPT = Path(__file__).with_name('neighbour_vote_processes.py')
spec = importlib.util.spec_from_file_location('neighbour_vote_processes', SCRIPT)
processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(processes)

BATCHES = dict(
    usual=[[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]],
    # The present one has no present other, but the absent ones have both.
    one_present=[[1, 0], [0, 0], [0, 0]],
    unknown=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [0, 1, 1], [0, 0, -1]],
    no_label=[[0, 0], [0, 0]],
    all_present=[[1, 1], [1, 1], [1, 1]],
    two_images=[[1, 0], [0, 1]],
    one_image=[[1, 1, 0]],
    all_unknown=[[-1, -1], [-1, -1]],
)
NO_VOTE = ('no_label', 'all_present', 'two_images', 'one_image', 'all_unknown')


def oracle(grid, targets, temperature, images=None, remembered=()):
    """From the formula over plain floats: the mean loss, and the votes.

    ``remembered`` lists (vector, label, target).
    """

    def weight(a, b):
        return math.exp(math.fsum(x * y for x, y in zip(a, b)) / temperature)

    grid = grid.tolist()
    images = range(len(grid)) if images is None else images
    losses, votes = [], {}
    for i, row in enumerate(targets):
        for label, target in enumerate(row):
            if target < 0:
                continue
            voters = [
                (grid[j][label], targets[j][label])
                for j in range(len(grid))
                if images[j] != images[i] and targets[j][label] >= 0
            ]
            voters += [(vector, t) for vector, of, t in remembered if of == label]
            if {t for _, t in voters} != {0, 1}:
                continue
            weights = [weight(grid[i][label], vector) for vector, _ in voters]
            total = math.fsum(weights)
            present = math.fsum(w for w, (_, t) in zip(weights, voters) if t == 1)
            absent = math.fsum(w for w, (_, t) in zip(weights, voters) if t == 0)
            votes[i, label] = present / total
            losses.append(-math.log((present if target else absent) / total))
    return (math.fsum(losses) / len(losses) if losses else 0.0), votes


def make(targets, dtype=torch.float64, dims=5, seed=0):
    """Embeddings ``(B, L, D)`` and what the loss takes of them."""
    targets = torch.tensor(targets)
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randn(*targets.shape, dims, generator=generator, dtype=torch.float64)
    grid = F.normalize(grid, dim=-1).to(dtype)
    images, labels = (targets >= 0).nonzero(as_tuple=True)
    rows = grid[images, labels]
    return grid, (rows, labels, targets[images, labels] == 1, images)


def remember(number, num_labels, dims=5):
    """A memory, as the loss takes it and as the oracle does."""
    generator = torch.Generator().manual_seed(9)
    vectors = torch.randn(number, dims, generator=generator, dtype=torch.float64)
    vectors = F.normalize(vectors, dim=-1)
    # One label that the batch does not have.
    labels = torch.randint(num_labels + 1, (number,), generator=generator)
    targets = torch.randint(2, (number,), generator=generator)
    listed = list(zip(vectors.tolist(), labels.tolist(), targets.tolist()))
    return Remembered(vectors, labels, targets == 1), listed


# --- the formula ----------------------------------------------------------------


@pytest.mark.parametrize('name', BATCHES)
@pytest.mark.parametrize('temperature', [0.05, 1.0])
def test_equals_the_formula(name, temperature):
    grid, arguments = make(BATCHES[name])
    loss = neighbour_vote_loss(*arguments, temperature)
    expected, votes = oracle(grid, BATCHES[name], temperature)
    assert loss.ndim == 0
    assert loss.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert bool(votes) == (name not in NO_VOTE)


def test_which_anchors_vote():
    _, votes = oracle(make(BATCHES['one_present'])[0], BATCHES['one_present'], 0.5)
    assert votes.keys() == {(1, 0), (2, 0)}


@pytest.mark.parametrize('name', BATCHES)
def test_equals_the_formula_with_memory(name):
    grid, arguments = make(BATCHES[name])
    remembered, listed = remember(20, len(BATCHES[name][0]))
    loss = neighbour_vote_loss(*arguments, 0.1, remembered)
    expected, votes = oracle(grid, BATCHES[name], 0.1, remembered=listed)
    assert loss.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert bool(votes) == (name != 'all_unknown')


def test_views_of_an_image_do_not_vote_for_one_another():
    targets = BATCHES['usual'] * 2
    views = [0, 1, 2, 3, 4] * 2
    grid, (rows, labels, present, images) = make(targets)
    loss = neighbour_vote_loss(rows, labels, present, images % 5, 0.1)
    expected, _ = oracle(grid, targets, 0.1, views)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    apart = neighbour_vote_loss(rows, labels, present, images, 0.1)
    assert apart.item() != pytest.approx(expected, rel=1e-3)
    alone = neighbour_vote_loss(rows, labels, present, None, 0.1)
    torch.testing.assert_close(alone, apart, rtol=0, atol=0)


def test_votes_are_those_of_inference():
    """Of the memory that is filled with all images but one, and asked for that one."""
    targets = torch.tensor(BATCHES['unknown'])
    grid, arguments = make(BATCHES['unknown'], dims=8)
    temperature = 0.2
    memory = LabelNeighbours(temperature, num_neighbours=None)
    losses = []
    for image in range(len(targets)):
        others = torch.arange(len(targets)) != image
        memory.fill(grid[others].float(), targets[others])
        votes = memory(grid[image][None].float())
        for label, target in enumerate(targets[image].tolist()):
            vote = (votes.present if target else votes.absent)[0, label]
            if target >= 0 and not vote.isnan():
                losses.append(-vote)
    loss = neighbour_vote_loss(*arguments, temperature)
    # The memory rounds cosines to about 0.0002.
    torch.testing.assert_close(
        loss.float(), torch.stack(losses).mean(), rtol=0, atol=2e-3
    )


@pytest.mark.parametrize('name', BATCHES)
@pytest.mark.parametrize('with_memory', [False, True])
def test_gradients(name, with_memory):
    _, (rows, *others) = make(BATCHES[name])
    rows.requires_grad_()
    remembered = remember(12, len(BATCHES[name][0]))[0] if with_memory else None
    assert torch.autograd.gradcheck(
        lambda z: neighbour_vote_loss(z, *others, 0.3, remembered), (rows,)
    )
    neighbour_vote_loss(rows, *others, 0.3, remembered).backward()
    assert rows.grad.isfinite().all()
    silent = name == 'all_unknown' if with_memory else name in NO_VOTE
    assert bool((rows.grad != 0).any()) == (not silent)


def test_far_embeddings_have_a_finite_loss_and_a_gradient():
    """The vote of the wrong side is 1 up to exp(-2 / 0.001)."""
    rows = torch.tensor([[1.0, 0], [1, 0.1], [-1, 0], [-1, 0.1]])
    rows = F.normalize(rows, dim=1).requires_grad_()
    present = torch.tensor([True, False, True, False])
    labels = torch.zeros(4, dtype=torch.int64)
    loss = neighbour_vote_loss(rows, labels, present, None, 0.001)
    loss.backward()
    assert 1000 < loss < 2500
    assert rows.grad.isfinite().all()
    assert (rows.grad != 0).any()


def test_gradient_steps_separate_the_labels():
    torch.manual_seed(0)
    targets = torch.randint(2, (30,)) == 1
    x = torch.randn(30, 4, requires_grad=True)
    labels = torch.zeros(30, dtype=torch.int64)
    optimizer = torch.optim.SGD([x], lr=1.0)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = neighbour_vote_loss(F.normalize(x, dim=1), labels, targets, None, 0.2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    _, (rows, *others) = make(BATCHES['usual'], dtype)
    rows.requires_grad_()
    remembered = remember(12, 3)[0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = neighbour_vote_loss(rows, *others, 0.05, remembered)
    exact = neighbour_vote_loss(rows.double(), *others, 0.05, remembered)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-4, atol=0)
    loss.backward()
    assert rows.grad.isfinite().all()


def test_order_does_not_matter():
    _, arguments = make(BATCHES['usual'])
    order = torch.randperm(
        len(arguments[0]), generator=torch.Generator().manual_seed(3)
    )
    loss = neighbour_vote_loss(*arguments)
    other = neighbour_vote_loss(*(x[order] for x in arguments))
    torch.testing.assert_close(loss, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(temperature=0), 'temperature must be a positive'),
        (dict(labels=torch.zeros(2, dtype=torch.long)), r'labels \(N,\)'),
        (dict(present=torch.zeros(2, dtype=torch.bool)), r'present \(N,\)'),
        (dict(images=torch.zeros(2, dtype=torch.long)), r'images \(N,\)'),
        (dict(remembered=remember(4, 1, dims=5)[0]), r'\(K, 3\).*got \(4, 5\)'),
    ],
)
def test_bad_arguments(change, message):
    arguments = dict(
        embeddings=torch.eye(3),
        labels=torch.zeros(3, dtype=torch.long),
        present=torch.ones(3, dtype=torch.bool),
    )
    with pytest.raises(ValueError, match=message):
        neighbour_vote_loss(**(arguments | change))


# --- module and head ------------------------------------------------------------


def build_head(memory=None, projector=None, **kwargs):
    torch.manual_seed(0)
    loss = dict(
        type='NeighbourVoteLoss', temperature=0.5, loss_weight=0.2, memory=memory
    )
    return LabelWiseClsHead(
        num_classes=3,
        in_channels=8,
        loss_contrastive=loss,
        projector=projector,
        **kwargs,
    ).double()


def samples(targets):
    return [DataSample().set_gt_score(torch.tensor(row).double()) for row in targets]


@pytest.mark.parametrize('projector', [None, dict(out_channels=4)])
def test_in_the_head(projector):
    """The head hands over known embeddings of labels that have both kinds."""
    targets = [[1, -1, 0], [1, 1, 0], [-1, -1, -1], [0, 1, 0]]
    head = build_head(projector=projector)
    feats = torch.randn(4, 3, 8, dtype=torch.float64)
    seen = []
    head.projector.register_forward_hook(lambda m, args, out: seen.append(len(out)))
    losses = head.loss((feats,), samples(targets))
    # Label 1 is never known to be absent, label 2 never present.
    assert seen == [3]
    expected, votes = oracle(head.projector(feats), targets, 0.5)
    assert losses['loss_contrastive'].item() == pytest.approx(0.2 * expected, rel=1e-9)
    assert votes.keys() == {(0, 0), (1, 0)}
    if projector is None:
        torch.testing.assert_close(head.projector(feats), F.normalize(feats, dim=-1))
        assert not list(head.projector.parameters())


def test_views_in_the_head():
    """The preprocessor tells which rows are views of one image."""
    targets = BATCHES['usual']
    views = [torch.rand(5, 3, 2, 2), torch.rand(5, 3, 2, 2)]
    data = MultiViewDataPreprocessor(num_views=2)(
        dict(inputs=views, data_samples=samples(targets)), training=True
    )
    head = build_head()
    feats = torch.randn(10, 3, 8, dtype=torch.float64)
    losses = head.loss((feats,), data['data_samples'])
    expected, _ = oracle(
        F.normalize(feats, dim=-1), targets * 2, 0.5, [0, 1, 2, 3, 4] * 2
    )
    assert losses['loss_contrastive'].item() == pytest.approx(0.2 * expected, rel=1e-9)


def test_soft_targets_take_no_part():
    """Mixup makes them: such an entry is neither present nor absent."""
    targets = [[1, 0.3, 0], [1, 1, 1], [0, 0.7, 0], [0, 1, 1]]
    head = build_head()
    feats = torch.randn(4, 3, 8, dtype=torch.float64)
    hard = [[-1 if 0 < t < 1 else t for t in row] for row in targets]
    mixed = [[float(t) for t in row] for row in targets]
    losses = head.loss((feats,), samples(mixed))
    expected, votes = oracle(F.normalize(feats, dim=-1), hard, 0.5)
    assert losses['loss_contrastive'].item() == pytest.approx(0.2 * expected, rel=1e-9)
    assert {label for _, label in votes} == {0, 2}


def test_memory_in_the_head():
    """In training, known embeddings of earlier batches vote and are no anchors."""
    memory = dict(type='KnownLabelMemory', size=4, num_classes=3, embed_dims=8)
    head = build_head(memory)
    listed = []
    for step, targets in enumerate(['unknown', 'usual', 'no_label']):
        targets = [[*row, 0][:3] for row in BATCHES[targets]]
        feats = torch.randn(len(targets), 3, 8, dtype=torch.float64)
        losses = head.loss((feats,), samples(targets))
        grid = F.normalize(feats, dim=-1)
        latest = [
            entry for of in range(3) for entry in [e for e in listed if e[1] == of][-4:]
        ]
        expected, _ = oracle(grid, targets, 0.5, remembered=latest)
        assert losses['loss_contrastive'].item() == pytest.approx(
            0.2 * expected, rel=1e-6
        ), step
        # Kept in float32.
        listed += [
            (grid[i, label].float().tolist(), label, target)
            for i, row in enumerate(targets)
            for label, target in enumerate(row)
            if target >= 0
        ]
    before = head.contrastive_module.memory.read()
    head.eval().loss((feats,), samples(targets))
    for a, b in zip(before, head.contrastive_module.memory.read()):
        assert torch.equal(a, b)


def test_memory_of_another_width():
    """Named in the first batch, when the memory is still empty."""
    memory = dict(type='KnownLabelMemory', size=4, num_classes=3)
    head = build_head(memory)
    feats = torch.randn(5, 3, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match=r'got \(0, 128\). Set embed_dims'):
        head.loss((feats,), samples(BATCHES['usual']))


def test_keys_are_remembered():
    memory = dict(type='KnownLabelMemory', size=9, num_classes=3, embed_dims=5)
    loss = MODELS.build(dict(type='NeighbourVoteLoss', memory=memory))
    _, (rows, labels, present, images) = make(BATCHES['usual'])
    keys = torch.randn_like(rows)
    loss(rows, labels, present, images=images, keys=keys)
    embeddings, entries = loss.memory.read()
    order = labels.argsort(stable=True)
    torch.testing.assert_close(embeddings, keys[order].float())
    assert torch.equal(entries[:, 0], labels[order])
    assert torch.equal(entries[:, 1] == 1, present[order])


def test_module():
    module = MODELS.build(
        dict(type='NeighbourVoteLoss', temperature=0.5, loss_weight=0.3)
    )
    _, (rows, labels, present, images) = make(BATCHES['usual'])
    expected = 0.3 * neighbour_vote_loss(rows, labels, present, images, 0.5)
    torch.testing.assert_close(module(rows, labels, present, images), expected)
    assert 'temperature=0.5' in repr(module)
    with pytest.raises(ValueError, match='loss_weight must be'):
        NeighbourVoteLoss(loss_weight=-1)


# --- several processes ----------------------------------------------------------


@pytest.fixture(scope='module')
def results(run_processes):
    """What one process gets for the joined batch, and what each of two."""
    return processes.all_results(processes.join), run_processes(SCRIPT, 2)


@pytest.mark.parametrize('split', processes.SPLITS)
def test_two_processes_equal_one(results, split):
    single, many = results
    compared = 0
    for key, expected in single.items():
        if key[0] != split:
            continue
        if 'memory' in key:
            for result in many:
                for a, b in zip(result[key], expected):
                    assert torch.equal(a, b)
            continue
        for result in many:
            torch.testing.assert_close(result[key]['loss'], expected['loss'])
        # DDP would divide by the number of processes.
        grads = [result[key]['grad'] / 2 for result in many]
        torch.testing.assert_close(torch.cat(grads), expected['grad'])
        assert bool((expected['grad'] != 0).any()) == (split != 'nothing')
        compared += 1
    assert compared == 1 + processes.STEPS
