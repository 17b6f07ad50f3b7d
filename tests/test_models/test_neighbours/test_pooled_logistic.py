# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models import LabelWiseClsHead
from mlcl_plugin.models.neighbours import Outputs, PooledLogistic
from mlcl_plugin.models.neighbours.pooled_logistic import STRENGTHS
from mlcl_plugin.models.utils.logistic_regression import label_folds

HEAD = LabelWiseClsHead(num_classes=2, in_channels=4)


def outputs(features):
    return Outputs(HEAD, (features,), torch.zeros(0))


def filled(regions=None, labels=2, **kwargs):
    torch.manual_seed(0)
    member = PooledLogistic(regions=regions, num_views=0, **kwargs)
    maps = torch.randn(12, 3, 4, 4).relu()
    targets = (maps[:, :labels].mean((2, 3)) > 0.4).long()
    member.add(member.vectors(outputs(maps)), targets, torch.arange(12))
    member.build([str(number) for number in range(12)])
    return member, maps, targets


@pytest.mark.parametrize(
    ('options', 'starts'),
    [
        ({}, []),
        # ceil(0.6 * 4) = 3 places
        (dict(regions=0.6), [(0, 3), (1, 4)]),
        (dict(regions=0.5, grid=3), [(0, 2), (1, 3), (2, 4)]),
        (dict(regions=0.5, whole_share=0.25), [(0, 2), (2, 4)]),
        (dict(regions=0.6, whole_share=1.0), [(0, 3), (1, 4)]),
    ],
)
def test_vectors_and_votes_by_loops(options, starts):
    member, maps, _ = filled(strength=1.0, **options)
    votes = member(member.vectors(outputs(maps)))
    spans = [slice(*start) for start in starts]
    parts = [(slice(0, 4), slice(0, 4))]
    parts += [(row, column) for row in spans for column in spans]
    share = options.get('whole_share', 0.0)
    for image in range(12):
        logits = []
        for row, column in parts:
            part = maps[image, :, row, column]
            mean = torch.stack([channel.mean() for channel in part])
            most = torch.stack([channel.max() for channel in part])
            vector = torch.cat([mean / mean.norm(), most / most.norm()])
            logits.append(member.weight @ vector + member.bias)
        logits = torch.stack(logits)
        for label in range(2):
            whole, highest = logits[0, label].item(), max(logits[:, label].tolist())
            logit = share * whole + (1 - share) * highest
            assert float(votes.present[image, label]) == pytest.approx(
                -math.log1p(math.exp(-logit)), abs=1e-5
            )
            assert float(votes.absent[image, label]) == pytest.approx(
                -math.log1p(math.exp(logit)), abs=1e-5
            )


@pytest.mark.parametrize(
    ('size', 'heights', 'widths'),
    [
        ((5, 8), [(0, 3), (1, 4), (2, 5)], [(0, 4), (2, 6), (4, 8)]),
        # Half of an odd size is rounded up, a start down.
        ((2, 3), [(0, 1), (0, 1), (1, 2)], [(0, 2), (0, 2), (1, 3)]),
        ((1, 1), [(0, 1)] * 3, [(0, 1)] * 3),
    ],
)
def test_windows_of_maps_that_are_not_square(size, heights, widths):
    """Features and classes are of the same places."""
    member = with_source(regions=0.5, grid=3)
    maps = torch.rand(2, 3, *size)
    vectors = member.vectors(outputs(maps))
    assert vectors.shape == (2, 10, 10)
    windows = [(0, size[0], 0, size[1])]
    windows += [(*height, *width) for height in heights for width in widths]
    for place, (top, bottom, left, right) in enumerate(windows):
        part = maps[:, :, top:bottom, left:right].flatten(2)
        for image in range(2):
            mean, most = part[image].mean(1), part[image].amax(1)
            logits = part[image].T @ member.source.weight.T + member.source.bias
            expected = torch.cat(
                [
                    mean / mean.norm(),
                    most / most.norm(),
                    logits.softmax(1).mean(0).sqrt(),
                ]
            )
            torch.testing.assert_close(vectors[image, place], expected)


def with_source(**kwargs):
    source = dict(type='SourceClasses', in_channels=3, num_classes=4)
    member = PooledLogistic(num_views=0, source=source, **kwargs)
    torch.manual_seed(1)
    member.source.weight.normal_()
    return member


def test_classes_of_the_backbone():
    """They follow averages and maxima, of the whole and of each corner."""
    member, plain = with_source(regions=0.6), PooledLogistic(regions=0.6)
    maps = torch.randn(2, 3, 4, 4)
    vectors, without = (m.vectors(outputs(maps)) for m in (member, plain))
    assert vectors.shape == (2, 5, 10)
    assert torch.equal(vectors[..., :6], without)
    corner = maps[:, :, 1:, 1:].flatten(2)
    # Windows share their places, so that rounding may differ.
    torch.testing.assert_close(vectors[:, 4, 6:], member.source(corner))
    tokens = torch.randn(2, 5, 3)
    expected = member.source(tokens.transpose(1, 2))
    assert torch.equal(member.vectors(outputs(tokens))[:, 0, 6:], expected)
    expected = member.source(tokens[:, 0, :, None])
    assert torch.equal(member.vectors(outputs(tokens[:, 0]))[:, 0, 3:], expected)


def test_a_checkpoint_holds_the_classes():
    member, other = with_source(), with_source()
    maps = torch.randn(6, 3, 4, 4)
    targets = torch.tensor([[0, 1], [1, 0]]).repeat(3, 1)
    member.add(member.vectors(outputs(maps)), targets, torch.arange(6))
    member.build([])
    other.source.weight.zero_()
    other.load_state_dict(member.state_dict())
    votes = [m(m.vectors(outputs(maps))).present for m in (member, other)]
    assert torch.equal(*votes)


def test_classes_without_weights():
    member = with_source()
    member.source.weight.zero_()
    vectors = member.vectors(outputs(torch.rand(2, 3, 2, 2)))
    member.add(vectors, torch.tensor([[0], [1]]), torch.arange(2))
    with pytest.raises(ValueError, match='SourceClasses of PooledLogistic has no'):
        member.build([])


def test_it_learns():
    member, maps, targets = filled(strength=10.0)
    votes = member(member.vectors(outputs(maps)))
    right = (votes.present > votes.absent) == (targets == 1)
    assert right.float().mean() > 0.9


def test_the_order_of_batches_changes_nothing():
    first, maps, targets = filled()
    second = PooledLogistic(num_views=0)
    for part in (slice(7, 12), slice(0, 7)):
        vectors = second.vectors(outputs(maps[part]))
        second.add(vectors, targets[part], torch.arange(12)[part])
    second.build([])
    assert torch.equal(first.weight, second.weight)


def test_corners_are_not_learned_from():
    member = PooledLogistic(regions=0.7)
    found = outputs(torch.rand(2, 3, 4, 4))
    vectors = member.vectors(found)
    assert vectors.shape[1] == 5
    assert torch.equal(member.training_vectors(found), vectors[:, :1])


def test_views_share_the_strength():
    """Three equal views of each image are as good as one."""
    member, maps, targets = filled(strength=2.0)
    several = PooledLogistic(strength=2.0)
    for _ in range(3):
        several.add(several.vectors(outputs(maps)), targets, torch.arange(12))
    several.build([])
    # as far as the solver goes
    assert torch.allclose(several.weight, member.weight, rtol=2e-3, atol=1e-3)


def added(member, maps, targets, views):
    for _ in range(views):
        vectors = member.training_vectors(outputs(maps))
        member.add(vectors, targets, torch.arange(len(maps)))
    member.build([])
    return member


@pytest.mark.parametrize('views', [1, 2])
@pytest.mark.parametrize('noise', [0.05, 3.0])
def test_the_strength_of_the_best_cross_validation(views, noise):
    """By loops: each image is left out once, with all its views."""
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(20, 3, 2, 2, generator=generator)
    values = maps[:, :2].mean((2, 3))
    values = values + noise * torch.randn(20, 2, generator=generator)
    targets = (values > values.median(0).values).long()
    member = added(PooledLogistic(strength=None), maps, targets, views)

    fold = label_folds(targets)
    likelihoods = []
    for strength in STRENGTHS:
        total = 0.0
        for number in range(5):
            held = fold == number
            own = PooledLogistic(strength=strength)
            own = added(own, maps[~held], targets[~held], views)
            votes = own(own.vectors(outputs(maps[held])))
            present = targets[held] == 1
            total += float(torch.where(present, votes.present, votes.absent).sum())
        likelihoods.append(total)
    best = STRENGTHS[likelihoods.index(max(likelihoods))]
    same = added(PooledLogistic(strength=best), maps, targets, views)
    assert f'of strength {best:g}' in member.describe()
    torch.testing.assert_close(member.weight, same.weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    'targets',
    [
        [[1, 0]],
        [[1, 0], [0, 1]],
        [[1, 0], [0, 0], [0, 0]],
        [[-1, -1], [-1, 1], [-1, 0]],
    ],
)
def test_too_few_images_to_choose_a_strength(targets):
    maps = torch.rand(len(targets), 3, 2, 2)
    member = added(PooledLogistic(strength=None), maps, torch.tensor(targets), 1)
    votes = member(member.vectors(outputs(maps)))
    known = torch.tensor(targets)
    able = (known == 1).any(0) & (known == 0).any(0)
    assert member.weight.isfinite().all()
    assert torch.equal(~votes.present.isnan().any(0), able)


def test_a_label_without_present_images_has_no_vote():
    member = PooledLogistic(strength=1.0)
    maps = torch.rand(3, 3, 2, 2)
    targets = torch.tensor([[1, 0], [0, 0], [0, -1]])
    member.add(member.vectors(outputs(maps)), targets, torch.arange(3))
    member.build([])
    votes = member(member.vectors(outputs(maps)))
    assert votes.present.isnan().all(0).tolist() == [False, True]


def test_a_checkpoint_holds_it():
    member, maps, _ = filled(regions=0.6)
    other = MODELS.build(dict(type='PooledLogistic', regions=0.6))
    assert not other.is_filled
    other.load_state_dict(member.state_dict())
    vectors = member.vectors(outputs(maps))
    assert torch.equal(member(vectors).present, other(vectors).present)
    # The file does not say how strong.
    assert member.describe() == '2 regressions of strength 0.2'
    assert other.describe() == '2 regressions'
    other.clear()
    assert not other.is_filled


def test_a_checkpoint_of_half_precision():
    member, maps, _ = filled()
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in member.state_dict().items()
    }
    other = PooledLogistic()
    other.load_state_dict(state)
    assert other.weight.dtype == torch.float32 and other.able.dtype == torch.bool
    vectors = member.vectors(outputs(maps))
    torch.testing.assert_close(
        other(vectors).present, member(vectors).present, rtol=0, atol=0.01
    )


def test_tokens_and_vectors():
    member = PooledLogistic(regions=0.5)
    assert member.vectors(outputs(torch.rand(2, 5, 3))).shape == (2, 1, 6)
    assert member.vectors(outputs(torch.rand(2, 3))).shape == (2, 1, 3)
    with pytest.raises(ValueError, match='takes a feature map'):
        member.vectors(outputs(torch.rand(2, 3, 1, 1, 1)))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    member, maps, _ = filled()
    full = member(member.vectors(outputs(maps))).present
    half = member(member.vectors(outputs(maps.to(dtype)))).present
    assert half.dtype == torch.float32
    assert torch.allclose(full, half, atol=0.05)


def test_wrong_input():
    with pytest.raises(ValueError, match='strength must be positive or None, got 0'):
        PooledLogistic(strength=0)
    for grid in (1, 2.5):
        with pytest.raises(ValueError, match=f'grid must be a .* from 2, got {grid}'):
            PooledLogistic(regions=0.5, grid=grid)
    with pytest.raises(ValueError, match='grid=3 and whole_share=0.* Set regions'):
        PooledLogistic(grid=3)
    with pytest.raises(ValueError, match='whole_share must be between 0 and 1'):
        PooledLogistic(regions=0.5, whole_share=1.5)
    with pytest.raises(ValueError, match='num_views must not be negative'):
        PooledLogistic(num_views=-1)
    with pytest.raises(ValueError, match='regions must be a share'):
        PooledLogistic(regions=1.0)
    member = PooledLogistic()
    with pytest.raises(ValueError, match='There is no image'):
        member.build([])
    with pytest.raises(ValueError, match='PooledLogistic is empty'):
        member(torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match=r'takes vectors \(B, R, D\)'):
        member.add(torch.zeros(2, 3), torch.zeros(2, 1), torch.arange(2))
    with pytest.raises(ValueError, match='not finite'):
        member.add(torch.full((1, 1, 3), torch.nan), torch.ones(1, 1), torch.arange(1))
    member, _, _ = filled()
    with pytest.raises(ValueError, match='Fill it with the same model'):
        member(torch.zeros(1, 1, 3))
