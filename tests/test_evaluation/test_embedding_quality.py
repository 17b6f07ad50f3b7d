# SPDX-License-Identifier: Apache-2.0
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from mlcl_plugin.evaluation.embedding_quality import (
    RetrievalScores,
    alignment,
    average_precision_at_r,
    precision_at_1,
    retrieval_between_labels,
    retrieval_within_labels,
    uniformity,
)

INF = math.inf


def unit(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def by_rank(query, relevant, others):
    """Precision at 1 and AP@R of one query, over a sorted list of pairs."""
    if not relevant:
        return None
    # Of equally near ones, False (not relevant) goes first.
    ranked = sorted(
        [(-dot(query, x), True) for x in relevant]
        + [(-dot(query, x), False) for x in others]
    )
    first = [is_relevant for _, is_relevant in ranked[: len(relevant)]]
    precisions = [sum(first[: i + 1]) / (i + 1) for i in range(len(first)) if first[i]]
    return float(first[0]), sum(precisions) / len(relevant)


def mean(results):
    results = [x for x in results if x is not None]
    if not results:
        return math.nan, math.nan
    return tuple(math.fsum(x) / len(results) for x in zip(*results))


def between_by_hand(embeddings, labels, images):
    rows = list(zip(embeddings.tolist(), labels.tolist(), images.tolist()))
    results = []
    for query, label, image in rows:
        relevant = [x for x, k, i in rows if k == label and i != image]
        others = [x for x, k, _ in rows if k != label]
        results.append(by_rank(query, relevant, others))
    return mean(results)


def within_by_hand(embeddings, labels, images, targets):
    rows = list(zip(*(x.tolist() for x in (embeddings, labels, images, targets))))
    averages = []
    for label in sorted(set(labels.tolist())):
        own = [(x, i, t) for x, k, i, t in rows if k == label and t >= 0]
        results = []
        for query, image, target in own:
            if target == 1:
                gallery = [(x, t) for x, i, t in own if i != image]
                relevant = [x for x, t in gallery if t == 1]
                others = [x for x, t in gallery if t == 0]
                results.append(by_rank(query, relevant, others))
        values = mean(results)
        averages.append(None if math.isnan(values[0]) else values)
    return mean(averages)


def draw(num_images, num_labels, dims, seed, density=0.4, unknown=0.0, noise=0.5):
    """Embeddings of all labels in all images, flattened, and what they are of."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(num_images, num_labels, generator=generator) < density
    targets = targets.long()
    targets[torch.rand(targets.shape, generator=generator) < unknown] = -1
    images, labels = torch.ones_like(targets).nonzero().T
    centres = unit(2, num_labels, dims, seed=seed + 1)
    embeddings = centres[(targets == 1).long().flatten(), labels]
    embeddings = embeddings + noise * unit(len(labels), dims, seed=seed + 2)
    return F.normalize(embeddings, dim=1), labels, images, targets.flatten()


def present(embeddings, labels, images, targets):
    keep = targets == 1
    return embeddings[keep], labels[keep], images[keep]


def approx(values):
    return pytest.approx(tuple(values), abs=1e-9, nan_ok=True)


def test_worked_by_hand():
    relevant = torch.tensor([[0.9, 0.3, 0.6], [0.2, 0.9, 0.3], [0.8, -INF, -INF]])
    others = torch.tensor([[0.7, 0.1], [0.95, 0.1], [0.9, 0.85]])
    # The first 3 are + - + ; - + + ; and the first 1 is -.
    expected = [(1 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 3, 0]
    torch.testing.assert_close(
        average_precision_at_r(relevant, others),
        torch.tensor(expected, dtype=torch.float64),
    )
    assert precision_at_1(relevant, others).tolist() == [1, 0, 0]


def test_ties():
    """All others go first: the worst order there is."""
    relevant, others = torch.full((1, 3), 0.5), torch.full((1, 2), 0.5)
    # - - + | + +
    assert precision_at_1(relevant, others).item() == 0
    assert average_precision_at_r(relevant, others).item() == pytest.approx(1 / 9)
    # + - - + +, and + + with nothing else
    relevant[0, 0] = 0.6
    assert precision_at_1(relevant, others).item() == 1
    assert average_precision_at_r(relevant, others).item() == pytest.approx(1 / 3)
    for function in (precision_at_1, average_precision_at_r):
        assert function(relevant, others[:, :0]).item() == 1


@pytest.mark.parametrize('function', [precision_at_1, average_precision_at_r])
def test_nothing_relevant(function):
    nothing = torch.full((2, 3), -INF)
    nothing[1, 1] = 0.5
    first, second = function(nothing, torch.zeros(2, 4)).tolist()
    assert math.isnan(first) and second == 1
    assert function(nothing[:0], torch.zeros(0, 4)).shape == (0,)
    assert function(nothing[:, :0], torch.zeros(2, 4)).isnan().all()


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('seed', range(12))
def test_random_sets(seed, dtype):
    data = draw(3 + seed, 1 + seed % 5, 4, seed, unknown=0.2 * (seed % 2))
    data = (data[0].to(dtype), *data[1:])
    shown = present(*data)
    between = retrieval_between_labels(*shown)
    assert isinstance(between, RetrievalScores)
    assert between == approx(between_by_hand(*shown))
    within = retrieval_within_labels(*data)
    assert within == approx(within_by_hand(*data))


@pytest.mark.parametrize('seed', range(8))
def test_random_sets_with_ties(seed):
    """Few different embeddings, so that many are equally near."""
    _, labels, images, targets = draw(9, 4, 3, seed)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(3, (len(labels),), generator=generator)
    embeddings = torch.eye(3, dtype=torch.float64)[rows]
    data = (embeddings, labels, images, targets)
    shown = present(*data)
    between, within = retrieval_between_labels(*shown), retrieval_within_labels(*data)
    assert between == approx(between_by_hand(*shown))
    assert within == approx(within_by_hand(*data))
    # in whatever order
    order = torch.randperm(len(labels), generator=generator)
    mixed = tuple(x[order] for x in data)
    assert retrieval_between_labels(*present(*mixed)) == approx(between)
    assert retrieval_within_labels(*mixed) == approx(within)


def test_views():
    """Several embeddings of a label in an image do not find one another."""
    embeddings, labels, images, targets = draw(8, 3, 4, 0)
    images = images // 2
    data = (embeddings, labels, images, targets)
    shown = present(*data)
    assert retrieval_between_labels(*shown) == approx(between_by_hand(*shown))
    assert retrieval_within_labels(*data) == approx(within_by_hand(*data))
    pairs = [
        (embeddings[i] - embeddings[j]).square().sum().item()
        for i in range(len(labels))
        for j in range(i)
        if targets[i] == targets[j] == 1 and labels[i] == labels[j] == 1
        if images[i] != images[j]
    ]
    of_label = targets.eq(1) & labels.eq(1)
    value = alignment(embeddings[of_label], labels[of_label], images[of_label])
    assert value == pytest.approx(sum(pairs) / len(pairs))


def test_precision_at_1_against_sklearn():
    shown = present(*draw(40, 5, 6, 3))
    embeddings, labels, images = shown
    finder = NearestNeighbors(n_neighbors=2).fit(embeddings.numpy())
    # The first is the query itself.
    nearest = finder.kneighbors(embeddings.numpy())[1][:, 1]
    expected = (labels[nearest] == labels).double().mean().item()
    assert 0.1 < expected < 1
    assert retrieval_between_labels(*shown).precision_at_1 == pytest.approx(expected)


def test_map_at_r_against_sklearn():
    """With all relevant ones among the first R, or none, it is known otherwise."""
    embeddings, labels, images, targets = draw(30, 1, 5, 1, density=0.5)
    similarity = embeddings @ embeddings.T
    queries = targets.nonzero()[:, 0]
    for query in queries:
        gallery = images != images[query]
        number = int(targets[gallery].sum())
        first = similarity[query].masked_fill(~gallery, -INF).topk(number).indices
        # AP over the first R alone divides by those that it finds.
        found = int(targets[first].sum())
        expected = 0.0
        if found:
            expected = average_precision_score(
                targets[first].numpy(), similarity[query, first].numpy()
            )
            expected *= found / number
        value = average_precision_at_r(
            similarity[query, gallery & (targets == 1)][None],
            similarity[query, gallery & (targets == 0)][None],
        )
        assert value.item() == pytest.approx(expected)


def test_perfect_and_collapsed():
    labels = torch.arange(3).repeat(6)
    images = torch.arange(6).repeat_interleave(3)
    targets = (images + labels) % 2
    data = (labels, images, targets)
    # A direction for each label, and for its absence.
    perfect = torch.eye(6)[labels + 3 * targets]
    shown = present(perfect, *data)
    assert retrieval_between_labels(*shown) == (1, 1)
    assert retrieval_within_labels(perfect, *data) == (1, 1)
    assert alignment(*shown) == pytest.approx(0, abs=1e-12)
    # What tells labels apart need not tell presence from absence ...
    by_label = torch.eye(3)[labels]
    assert retrieval_between_labels(*present(by_label, *data)) == (1, 1)
    assert retrieval_within_labels(by_label, *data) == (0, 0)
    # ... nor the other way round.
    by_presence = torch.eye(2)[targets]
    assert retrieval_between_labels(*present(by_presence, *data)).precision_at_1 == 0
    assert retrieval_within_labels(by_presence, *data) == (1, 1)
    one = F.normalize(torch.ones(18, 4), dim=1)
    assert retrieval_between_labels(*present(one, *data)).precision_at_1 == 0
    assert retrieval_within_labels(one, *data).precision_at_1 == 0
    assert uniformity(one) == pytest.approx(0, abs=1e-6)


def test_every_label_weighs_the_same_within():
    """One label with many queries, one with few: between, every query does."""
    labels = torch.tensor([0] * 10 + [1] * 4)
    images = torch.cat([torch.arange(10), torch.arange(4)])
    targets = torch.tensor([1] * 8 + [0] * 2 + [1, 1, 0, 0])
    # label 0 in two bundles; label 1 falls together with its absence
    embeddings = torch.eye(3)[[0] * 8 + [1] * 2 + [2] * 4]
    within = retrieval_within_labels(embeddings, labels, images, targets)
    assert within == (0.5, 0.5)


@pytest.mark.parametrize('dims', [2, 7])
def test_alignment_and_uniformity(dims):
    embeddings, labels, images = present(*draw(12, 4, dims, 5))
    labels = labels * 3 + 1
    by_label = []
    for label in set(labels.tolist()):
        own = embeddings[labels == label].tolist()
        pairs = [math.dist(a, b) ** 2 for n, a in enumerate(own) for b in own[:n]]
        if pairs:
            by_label.append(math.fsum(pairs) / len(pairs))
    expected = math.fsum(by_label) / len(by_label)
    assert alignment(embeddings, labels, images) == pytest.approx(expected)

    expected = torch.pdist(embeddings).square().mul(-2).exp().mean().log().item()
    assert uniformity(embeddings) == pytest.approx(expected)
    assert uniformity(embeddings.float()) == pytest.approx(expected, abs=1e-5)


def test_scale_of_alignment_and_uniformity():
    pole = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    pair = (torch.zeros(2, dtype=torch.long), torch.arange(2))
    assert alignment(pole, *pair) == pytest.approx(4)
    assert uniformity(pole) == pytest.approx(-8)
    # random directions in many dimensions
    cloud = unit(300, 1000)
    zeros, images = torch.zeros(300, dtype=torch.long), torch.arange(300)
    assert alignment(cloud, zeros, images) == pytest.approx(2, abs=0.01)
    assert uniformity(cloud) == pytest.approx(-4, abs=0.02)


@pytest.mark.parametrize('block_entries', [1, 7, 60, 1000])
def test_blocks(block_entries):
    data = draw(15, 4, 5, 2, unknown=0.1, noise=2.0)
    shown = present(*data)
    between, within = retrieval_between_labels(*shown), retrieval_within_labels(*data)
    assert 0 < within.precision_at_1 < 1
    assert retrieval_between_labels(*shown, block_entries) == approx(between)
    assert retrieval_within_labels(*data, block_entries) == approx(within)
    expected = uniformity(shown[0])
    assert uniformity(shown[0], block_entries) == pytest.approx(expected)


@pytest.mark.parametrize('number', [0, 1])
def test_too_few_embeddings(number):
    embeddings = unit(number, 4)
    zeros = torch.zeros(number, dtype=torch.long)
    assert all(map(math.isnan, retrieval_between_labels(embeddings, zeros, zeros)))
    ones = torch.ones_like(zeros)
    assert all(map(math.isnan, retrieval_within_labels(embeddings, zeros, zeros, ones)))
    assert math.isnan(alignment(embeddings, zeros, zeros))
    assert math.isnan(uniformity(embeddings))


def test_labels_without_a_pair_are_left_out():
    embeddings, labels, images, targets = draw(6, 3, 4, 0)
    targets[labels == 1] = 0
    targets[labels == 2] = -1
    assert (targets == 1).sum() > 1
    data = (embeddings, labels, images, targets)
    alone = tuple(x[labels == 0] for x in data)
    assert retrieval_within_labels(*data) == approx(retrieval_within_labels(*alone))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    data = draw(10, 3, 64, 0)
    half = (data[0].to(dtype), *data[1:])
    exact = (half[0].double(), *data[1:])
    assert retrieval_within_labels(*half) == approx(retrieval_within_labels(*exact))
    expected = alignment(*present(*exact))
    assert alignment(*present(*half)) == pytest.approx(expected, abs=1e-6)
    assert uniformity(half[0]) == pytest.approx(uniformity(data[0]), abs=0.02)


def test_bad_input():
    embeddings, labels, images, targets = draw(4, 2, 3, 0)
    message = r'Expected embeddings \(N, D\).*got \[\(8, 3\), \(7,\), \(8,\)'
    with pytest.raises(ValueError, match=message):
        retrieval_between_labels(embeddings, labels[1:], images)
    with pytest.raises(ValueError, match=r'\(8,\), \(8,\), \(6,\)\]'):
        retrieval_within_labels(embeddings, labels, images, targets[2:])
    with pytest.raises(ValueError, match='got one of length 2'):
        alignment(embeddings * 2, labels, images)
    embeddings[3, 1] = math.nan
    with pytest.raises(
        ValueError, match='Expected unit vectors, got one of length nan'
    ):
        uniformity(embeddings)
    with pytest.raises(ValueError, match=r'Expected embeddings'):
        uniformity(labels.double())
    targets[5] = 2
    with pytest.raises(ValueError, match='targets hold 2, expected 1'):
        retrieval_within_labels(unit(8, 3), labels, images, targets)
    with pytest.raises(ValueError, match='block_entries must be positive, got 0'):
        retrieval_between_labels(unit(8, 3), labels, images, block_entries=0)
    for function in (precision_at_1, average_precision_at_r):
        with pytest.raises(ValueError, match=r'got \(2, 3\) and \(1, 4\)'):
            function(torch.zeros(2, 3), torch.zeros(1, 4))


MEMORY = """
import resource, torch
from mlcl_plugin.evaluation.embedding_quality import *
torch.set_num_threads(1)
z = torch.nn.functional.normalize(torch.randn(15000, 128), dim=1)
labels, images = torch.arange(15000) % 50, torch.arange(15000) // 3
targets = torch.arange(15000) // 50 % 2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
retrieval_between_labels(z, labels, images)
retrieval_within_labels(z, labels, images, targets)
uniformity(z), alignment(z, labels, images)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_memory():
    """Far from all pairs: 15,000 embeddings have 860 MB of similarities."""
    output = subprocess.run(
        [sys.executable, '-c', MEMORY], capture_output=True, text=True, check=True
    ).stdout
    assert int(output.split()[-1]) < 300
