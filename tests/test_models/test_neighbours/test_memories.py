# SPDX-License-Identifier: Apache-2.0
import copy
import importlib.util
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmengine.runner import load_state_dict
from mmpretrain.registry import MODELS

from mlcl_plugin.models import (
    ImageLevelClsHead,
    ImageNeighbours,
    LabelNeighbours,
    LabelWiseClsHead,
)
from mlcl_plugin.models.neighbours import Outputs, base
from mlcl_plugin.models.neighbours.principal_axes import principal_axes

PATH = Path(__file__).with_name('oracle.py')
spec = importlib.util.spec_from_file_location('neighbour_oracle', PATH)
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)

EVERY = dict(prototypes=None)
KINDS = {'label': partial(LabelNeighbours, **EVERY), 'image': ImageNeighbours}
CONTRAST = dict(
    loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
    projector=dict(hidden_channels=4, out_channels=5),
)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def random_case(kind='label', number=40, unknown=0.3, labels=3, dims=6):
    generator = torch.Generator().manual_seed(0)
    groups = labels if kind == 'label' else 1
    vectors = torch.randn(number, groups, dims, generator=generator)
    targets = (torch.rand(number, labels, generator=generator) < 0.3).float()
    targets[torch.rand(number, labels, generator=generator) < unknown] = -1
    queries = torch.randn(5, groups, dims, generator=generator)
    return vectors, targets, queries


def expected_votes(vectors, targets, queries, temperature=0.05, k=None):
    labels = targets.shape[1]
    found = oracle.votes(
        queries.expand(-1, labels, -1).tolist(),
        vectors.expand(-1, labels, -1).transpose(0, 1).tolist(),
        targets.T.tolist(),
        temperature,
        k,
    )
    return torch.tensor(found)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('unknown', [0.0, 0.3])
@pytest.mark.parametrize('k', [None, 7, 1000])
def test_loops(kind, unknown, k):
    memory = KINDS[kind](num_neighbours=k)
    vectors, targets, queries = random_case(kind, unknown=unknown)
    memory.fill(vectors, targets)
    found = memory(queries).present.exp()
    expected = expected_votes(vectors, targets, queries, k=k)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_one_label_has_a_memory_of_its_own():
    """Other labels' vectors change nothing."""
    vectors, targets, queries = random_case()
    memory = LabelNeighbours()
    memory.fill(vectors, targets)
    expected = memory(queries).present[:, 1]
    vectors[:, [0, 2]] = torch.randn(40, 2, 6)
    memory.fill(vectors, targets)
    assert torch.equal(memory(queries).present[:, 1], expected)


@pytest.mark.parametrize('kind', KINDS)
def test_labels_without_votes(kind):
    """No present, no absent, or no known entry."""
    vectors, targets, queries = random_case(kind, labels=4)
    targets[:, 0] = torch.tensor([0, -1] * 20)
    targets[:, 1] = torch.tensor([-1, 1] * 20)
    targets[:, 2] = -1
    memory = KINDS[kind](num_neighbours=7)
    memory.fill(vectors, targets)
    for vote in memory(queries):
        assert vote[:, :3].isnan().all() and not vote[:, 3].isnan().any()


def test_unknown_entries_take_no_room():
    vectors, targets, queries = random_case(unknown=0.8)
    memory = LabelNeighbours()
    memory.fill(vectors, targets)
    assert memory.keys.shape == (3, int((targets >= 0).sum(dim=0).max()), 6)
    torch.testing.assert_close(
        memory(queries).present.exp(),
        expected_votes(vectors, targets, queries),
        rtol=0,
        atol=2e-3,
    )


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'options', [{}, dict(dims=3), dict(prototypes=(2, 3)), dict(storage='int8')]
)
def test_batches_in_any_order(kind, options, monkeypatch):
    """The same memory as from all images at once, in the order of the images."""
    monkeypatch.setattr(base, 'AXES_SAMPLE', 40)
    vectors, targets, _ = random_case(kind)
    names = [f'{number}.jpg' for number in range(40)]
    whole, parts = KINDS[kind](**options), KINDS[kind](**options)
    whole.fill(vectors, targets, names)
    for images in torch.randperm(40).split(7):
        parts.add(vectors[images], targets[images], images)
    parts.build(names)
    for (name, a), b in zip(whole.named_buffers(), parts.buffers()):
        if name == 'axes':
            # Sums of another order.
            torch.testing.assert_close(a.float(), b.float(), rtol=0, atol=1)
        elif name != 'keys' or 'dims' not in options:
            assert torch.equal(a, b), name
    assert whole.image_names == parts.image_names == names
    # Again: the old memory is replaced.
    whole.fill(vectors[:9], targets[:9])
    assert whole.image_names == [str(number) for number in range(9)]
    assert whole.targets.shape[1] <= 9


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('options', [{}, dict(dims=3), dict(storage='int8')])
def test_equal_to_the_bit_for_any_batch(kind, options):
    vectors, targets, _ = random_case(kind, number=500, dims=24)
    memory = KINDS[kind](num_neighbours=50, **options)
    memory.fill(vectors, targets)
    queries = torch.randn(64, *vectors.shape[1:])
    whole = memory(queries)
    for size in (1, 2, 7):
        for start in range(0, 64, size):
            part = memory(queries[start : start + size])
            for a, b in zip(part, whole):
                assert torch.equal(a, b[start : start + size])


class TestProjection:
    @pytest.mark.parametrize('kind', KINDS)
    def test_loops(self, kind):
        vectors, targets, queries = random_case(kind, number=60)
        memory = KINDS[kind](dims=3, num_neighbours=7)
        memory.fill(vectors, targets)
        groups = vectors.shape[1]
        assert memory.keys.shape[2] == 3 and memory.axes.shape == (groups, 3, 6)
        axes = principal_axes(F.normalize(vectors, dim=2), 3)
        expected = expected_votes(
            torch.einsum('ngd,gpd->ngp', vectors, axes),
            targets,
            torch.einsum('bgd,gpd->bgp', queries, axes),
            k=7,
        )
        found = memory(queries).present.exp()
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)

    def test_all_dims_keep_the_votes(self):
        vectors, targets, queries = random_case()
        plain, projected = LabelNeighbours(), LabelNeighbours(dims=6)
        for memory in (plain, projected):
            memory.fill(vectors, targets)
        torch.testing.assert_close(
            plain(queries).present.exp(),
            projected(queries).present.exp(),
            rtol=0,
            atol=5e-3,
        )

    def test_axes_of_the_first_images(self, monkeypatch):
        monkeypatch.setattr(base, 'AXES_SAMPLE', 10)
        vectors, targets, _ = random_case(unknown=0)
        memory, first = (LabelNeighbours(dims=2, **EVERY) for _ in range(2))
        memory.fill(vectors, targets)
        first.fill(vectors[:10], targets[:10])
        assert torch.equal(memory.axes, first.axes) and memory.keys.shape[1] == 40

    def test_too_many_dims(self):
        vectors, targets, _ = random_case()
        with pytest.raises(ValueError, match='dims=7 for a width of 6'):
            LabelNeighbours(dims=7).fill(vectors, targets)


class TestPrototypes:
    def test_default(self):
        """32 present and 64 absent ones of a label; fewer entries are all kept."""
        vectors, targets, queries = random_case(number=400, unknown=0.1)
        memory, few = LabelNeighbours(), LabelNeighbours()
        memory.fill(vectors, targets)
        assert memory.keys.shape == (3, 96, 6)
        assert (memory.targets == 1).sum(dim=1).tolist() == [32] * 3
        assert (memory.targets == 0).sum(dim=1).tolist() == [64] * 3
        assert memory.counts.sum(dim=1).tolist() == (targets >= 0).sum(dim=0).tolist()
        few.fill(vectors[:40], targets[:40])
        assert few.counts.max() == 1
        torch.testing.assert_close(
            few(queries).present.exp(),
            expected_votes(vectors[:40], targets[:40], queries),
            rtol=0,
            atol=2e-3,
        )

    @pytest.mark.parametrize('kind', KINDS)
    def test_as_many_as_entries(self, kind):
        """Then nothing is lost."""
        vectors, targets, queries = random_case(kind)
        memory = KINDS[kind](prototypes=(40, 40))
        memory.fill(vectors, targets)
        torch.testing.assert_close(
            memory(queries).present.exp(),
            expected_votes(vectors, targets, queries),
            rtol=0,
            atol=2e-3,
        )

    @pytest.mark.parametrize('kind', KINDS)
    def test_centres(self, kind):
        """At most as many as wanted, and they stand for all known entries."""
        vectors, targets, queries = random_case(kind)
        targets[:, 2] = torch.tensor([0] * 38 + [1, -1])
        memory = KINDS[kind](prototypes=(3, 4))
        memory.fill(vectors, targets)
        assert memory.keys.shape == (3, 7, 6)
        for label in range(3):
            for value, most in ((1, 3), (0, 4)):
                own = memory.targets[label] == value
                number = int((targets[:, label] == value).sum())
                assert own.sum() == min(most, number)
                assert memory.counts[label, own].sum() == number
        assert (memory.counts[memory.targets == -1] == 0).all()
        votes = memory(queries).present.exp()
        keys = memory.keys.float()
        expected = oracle.votes(
            queries.expand(-1, 3, -1).tolist(),
            keys.tolist(),
            memory.targets.tolist(),
            0.05,
            None,
            memory.counts.tolist(),
        )
        torch.testing.assert_close(votes, torch.tensor(expected), rtol=0, atol=2e-3)

    def test_equal_vectors(self):
        """One centre that counts for all: the share of present entries."""
        vectors = torch.ones(10, 1, 4)
        targets = torch.tensor([[1.0]] * 3 + [[0.0]] * 7)
        memory = LabelNeighbours(prototypes=(2, 2))
        memory.fill(vectors, targets)
        found = memory(torch.randn(2, 1, 4)).present.exp()
        torch.testing.assert_close(found, torch.full((2, 1), 0.3))


class TestCheckpoint:
    @pytest.mark.parametrize('kind', KINDS)
    @pytest.mark.parametrize(
        'options', [{}, dict(dims=3), dict(prototypes=(2, 3)), dict(storage='int8')]
    )
    def test_takes_the_size_of_what_it_loads(self, kind, options, tmp_path):
        vectors, targets, queries = random_case(kind)
        memory = KINDS[kind](**options)
        memory.fill(vectors, targets, [f'ä{number}' for number in range(40)])
        torch.save(memory.state_dict(), tmp_path / 'memory.pth')
        state = torch.load(tmp_path / 'memory.pth', weights_only=True)
        other = KINDS[kind]()
        other.fill(vectors[:7], targets[:7])
        for load in (
            lambda module: module.load_state_dict(state),
            # MMEngine's, which calls each module itself.
            lambda module: load_state_dict(module, state, strict=True),
        ):
            loaded = KINDS[kind]()
            load(loaded), load(other)
            for module in (loaded, other):
                assert module.is_filled and module.image_names[3] == 'ä3'
                for a, b in zip(memory.buffers(), module.buffers()):
                    assert a.dtype == b.dtype and torch.equal(a, b)
                for a, b in zip(memory(queries), module(queries)):
                    assert torch.equal(a.nan_to_num(), b.nan_to_num())

    def test_empty(self):
        memory = LabelNeighbours()
        memory.fill(*random_case()[:2])
        memory.load_state_dict(LabelNeighbours().state_dict())
        assert not memory.is_filled and memory.num_bytes == 0

    def test_missing(self):
        with pytest.raises(RuntimeError, match='Missing key.*keys'):
            LabelNeighbours().load_state_dict({})

    def test_no_parameters_and_no_gradient(self):
        memory = LabelNeighbours()
        vectors, targets, queries = random_case()
        memory.fill(vectors.requires_grad_(), targets)
        assert list(memory.parameters()) == []
        assert not memory(queries.requires_grad_()).present.requires_grad


def test_bytes():
    memory = LabelNeighbours(storage='int8', **EVERY)
    vectors, targets, _ = random_case(unknown=0)
    memory.fill(vectors, targets, ['a'] * 40)
    names = len('["a"') + 39 * len(', "a"') + 1
    assert memory.num_bytes == 40 * 3 * (6 + 1) + 40 * 4 + names
    half = LabelNeighbours(**EVERY)
    half.fill(vectors, targets, ['a'] * 40)
    assert half.num_bytes - memory.num_bytes == 40 * 3 * 6


def test_autocast_rounds_nothing():
    vectors, targets, queries = random_case(number=300, dims=32)
    memory = LabelNeighbours(dims=8)
    memory.fill(vectors, targets)
    expected = memory(queries)
    with torch.autocast('cpu', torch.bfloat16):
        found = memory(queries)
    for a, b in zip(found, expected):
        assert torch.equal(a, b)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_cast_model(dtype):
    vectors, targets, queries = random_case()
    memory = LabelNeighbours(dims=3)
    memory.fill(vectors, targets)
    expected = memory(queries).present
    found = copy.deepcopy(memory).to(dtype)(queries).present
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


class TestExplain:
    @pytest.mark.parametrize('kind', KINDS)
    @pytest.mark.parametrize('present', [True, False])
    @pytest.mark.parametrize('unknown', [0.0, 0.3])
    def test_loops(self, kind, present, unknown):
        vectors, targets, queries = random_case(kind, unknown=unknown)
        names = [f'{number}.jpg' for number in range(40)]
        memory = KINDS[kind](num_neighbours=9)
        memory.fill(vectors, targets, names)
        for label in range(3):
            group = label if kind == 'label' else 0
            query = queries[0, group].tolist()
            known = [
                (oracle.cosine(query, vectors[n, group].tolist()), n)
                for n in range(40)
                if targets[n, label] >= 0
            ]
            nearest = sorted(known, reverse=True)[:9]
            expected = [(c, n) for c, n in nearest if targets[n, label] == present][:3]
            found = memory.explain(queries[0], label, 3, present)
            assert [item.image for item in found] == [names[n] for _, n in expected]
            for item, (cosine, _) in zip(found, expected):
                assert item.cosine == pytest.approx(cosine, abs=1e-3)
                assert item.present is present and item.num_images == 1

    def test_shares_are_the_votes(self):
        vectors, targets, queries = random_case()
        memory = LabelNeighbours()
        memory.fill(vectors, targets)
        found = memory.explain(queries[0], 1, 40)
        shares = [item.share for item in found]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(memory(queries).present[0, 1].exp().item())

    @pytest.mark.parametrize('kind', KINDS)
    def test_prototypes(self, kind):
        """The image nearest to a centre, and how many it stands for."""
        vectors, targets, queries = random_case(kind)
        memory = KINDS[kind](prototypes=(2, 3), dims=4)
        memory.fill(vectors, targets)
        found = memory.explain(queries[0], 1, 10)
        number = int((targets[:, 1] == 1).sum())
        assert len(found) == 2 and sum(item.num_images for item in found) == number
        assert all(targets[int(item.image), 1] == 1 for item in found)

    def test_no_such_label(self):
        memory = LabelNeighbours()
        vectors, targets, queries = random_case()
        memory.fill(vectors, targets)
        with pytest.raises(ValueError, match='label must be from 0 to 2, got 3'):
            memory.explain(queries[0], 3)


class TestErrors:
    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (dict(temperature=0), 'temperature must be a positive'),
            (dict(num_neighbours=0), 'num_neighbours must be positive or None, got 0'),
            (dict(dims=0), 'dims must be positive or None'),
            (dict(source='logits'), r"source must be one of \('embeddings',.*'logits'"),
            (dict(storage='int4'), r"storage must be one of \('float16', 'int8'\)"),
            (dict(prototypes=(3,)), 'prototypes must be two positive numbers'),
            (dict(prototypes=(3, 0)), 'prototypes must be two positive numbers'),
            (
                dict(num_neighbours=3),
                r'num_neighbours=3 has no effect with .*\(32, 64\)',
            ),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            LabelNeighbours(**options)

    def test_empty(self):
        memory = LabelNeighbours()
        with pytest.raises(
            ValueError, match='LabelNeighbours is empty.*fit_neighbours'
        ):
            memory(torch.zeros(2, 3, 4))
        with pytest.raises(ValueError, match='no image to fill'):
            memory.build([])

    @pytest.mark.parametrize(
        ('kind', 'shape', 'targets'),
        [
            ('label', (4, 2, 6), (4, 3)),
            ('label', (4, 6), (4, 3)),
            ('label', (5, 3, 6), (4, 3)),
            ('image', (4, 3, 6), (4, 3)),
            ('image', (4, 6), (4, 3)),
        ],
    )
    def test_shapes(self, kind, shape, targets):
        with pytest.raises(ValueError, match=r'Neighbours takes one vector per image'):
            KINDS[kind]().fill(torch.zeros(shape), torch.zeros(targets))

    @pytest.mark.parametrize('shape', [(2, 3, 5), (2, 2, 6), (2, 6)])
    def test_other_queries(self, shape):
        memory = LabelNeighbours()
        memory.fill(*random_case()[:2])
        with pytest.raises(ValueError, match=r'holds vectors \(B, 3, 6\), got'):
            memory(torch.zeros(shape))

    def test_soft_targets(self):
        vectors, targets, _ = random_case()
        targets[3, 1] = 0.5
        with pytest.raises(ValueError, match='neighbours hold 0.5.*soft targets'):
            LabelNeighbours().fill(vectors, targets)

    def test_not_finite(self):
        vectors, targets, _ = random_case()
        vectors[3, 1, 2] = torch.inf
        with pytest.raises(ValueError, match='not finite'):
            LabelNeighbours().fill(vectors, targets)


class TestVectors:
    """What is compared."""

    def outputs(self, head, feats):
        features = (torch.randn(2, 7, 3, 3),)
        return Outputs(head, features, head.pre_logits(feats))

    @pytest.mark.parametrize('num_groups', [None, 2])
    def test_of_labels(self, num_groups):
        head = LabelWiseClsHead(3, 4, num_groups=num_groups, **CONTRAST)
        embeddings = torch.randn(2, num_groups or 3, 4)
        outputs = self.outputs(head, (embeddings,))
        own = embeddings if num_groups is None else embeddings[:, [0, 0, 1]]
        assert torch.equal(LabelNeighbours().vectors(outputs), own)
        found = LabelNeighbours(source='projections').vectors(outputs)
        for image in range(2):
            for label in range(3):
                expected = head.project(
                    embeddings, torch.tensor([image]), torch.tensor([label])
                )
                torch.testing.assert_close(found[image, label], expected[0])

    def test_of_images(self):
        head = ImageLevelClsHead(
            3,
            4,
            loss_contrastive=dict(type='ImageLevelContrastiveLoss'),
            projector=dict(out_channels=5),
        )
        pooled = torch.randn(2, 4)
        outputs = self.outputs(head, (pooled,))
        found = {
            source: ImageNeighbours(source=source).vectors(outputs)
            for source in ('backbone', 'embeddings', 'projections')
        }
        expected = dict(
            backbone=outputs.features[-1].mean(dim=(2, 3)),
            embeddings=pooled,
            projections=head.projector(pooled),
        )
        for source, vectors in found.items():
            torch.testing.assert_close(vectors, expected[source][:, None])

    @pytest.mark.parametrize('shape', [(2, 5, 4), (2, 4)])
    def test_backbone_of_tokens_or_vectors(self, shape):
        head = ImageLevelClsHead(3, 4)
        features = torch.randn(shape)
        expected = features if features.ndim == 2 else features.mean(dim=1)
        for given in (features, (features,)):
            outputs = Outputs(head, given, torch.randn(2, 4))
            found = ImageNeighbours().vectors(outputs)
            torch.testing.assert_close(found, expected[:, None])

    def test_backbone_of_another_shape(self):
        outputs = Outputs(None, (torch.zeros(4),), None)
        with pytest.raises(ValueError, match=r'a feature map .* got \(4,\)'):
            ImageNeighbours().vectors(outputs)

    def test_heads_that_do_not_fit(self):
        label_wise = LabelWiseClsHead(3, 4)
        image_level = ImageLevelClsHead(3, 4)
        with pytest.raises(ValueError, match='the head is a ImageLevelClsHead'):
            LabelNeighbours().check_head(image_level)
        with pytest.raises(ValueError, match='needs a head with a projector'):
            LabelNeighbours(source='projections').check_head(label_wise)
        with pytest.raises(ValueError, match='needs a head with a projector, got'):
            ImageNeighbours(source='projections').check_head(image_level)
        memory = ImageNeighbours(source='embeddings')
        with pytest.raises(ValueError, match=r'got \(2, 3, 4\) from LabelWiseClsHead'):
            memory.vectors(self.outputs(label_wise, (torch.zeros(2, 3, 4),)))


def test_registered():
    for kind, cls in {'label': LabelNeighbours, 'image': ImageNeighbours}.items():
        memory = MODELS.build(dict(type=cls.__name__, dims=4))
        assert type(memory) is cls and memory.kind == kind
    assert 'dims=4' in repr(memory)
