# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

from mlcl_plugin.models import MultiViewDataPreprocessor
from mlcl_plugin.models.utils import collect_image_numbers

NORM = dict(mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 8.0], to_rgb=True)
COLLATE = [default_collate, pseudo_collate]
# More images than channels, and three of each: axes must not be taken for another.
BATCH_SIZES = [1, 3, 4]


def image(view, index, size=(4, 6)):
    generator = torch.Generator().manual_seed(100 * view + index)
    return torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)


def sample(index):
    score = torch.zeros(5)
    score[index] = 1
    score[4] = -1
    return DataSample(metainfo=dict(img_path=f'{index}.jpg')).set_gt_score(score)


def multi_view_batch(collate, num_views=2, batch_size=3):
    """What a loader gives for MultiView and PackInputs."""
    return collate(
        [
            dict(
                inputs=[image(view, b) for view in range(num_views)],
                data_samples=sample(b),
            )
            for b in range(batch_size)
        ]
    )


def single_view_batch(collate, batch_size=3):
    return collate(
        [dict(inputs=image(0, b), data_samples=sample(b)) for b in range(batch_size)]
    )


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('num_views', [1, 2, 3])
@pytest.mark.parametrize('batch_size', BATCH_SIZES)
@pytest.mark.parametrize('collate', COLLATE)
def test_views_are_joined_view_by_view(collate, batch_size, num_views, training):
    preprocessor = MODELS.build(
        dict(type='MultiViewDataPreprocessor', num_views=num_views, **NORM)
    )
    data = preprocessor(multi_view_batch(collate, num_views, batch_size), training)
    inputs, samples = data['inputs'], data['data_samples']
    assert inputs.shape == (num_views * batch_size, 3, 4, 6)
    assert inputs.dtype == torch.float32
    assert len(samples) == num_views * batch_size
    for v in range(num_views):
        for b in range(batch_size):
            row = v * batch_size + b
            rgb = image(v, b)[[2, 1, 0]].float()
            for channel, (mean, std) in enumerate(zip(NORM['mean'], NORM['std'])):
                torch.testing.assert_close(
                    inputs[row, channel], (rgb[channel] - mean) / std
                )
            assert samples[row].gt_score.tolist() == sample(b).gt_score.tolist()
            assert samples[row].img_path == f'{b}.jpg'


@pytest.mark.parametrize('collate', COLLATE)
def test_samples_are_copies(collate):
    batch = multi_view_batch(collate)
    before = list(batch['data_samples'])
    data = MultiViewDataPreprocessor()(batch, training=True)
    samples = data['data_samples']
    assert len({id(s) for s in samples}) == 6
    assert batch['data_samples'] == before and len(before) == 3
    samples[0].set_gt_score(torch.full((5,), 0.5))
    samples[0].gt_score[0] = 0.25
    samples[1].gt_score.fill_(0.75)
    assert samples[3].gt_score.tolist() == sample(0).gt_score.tolist()
    assert samples[4].gt_score.tolist() == sample(1).gt_score.tolist()


@pytest.mark.parametrize('collate', COLLATE)
def test_label_indices_are_repeated(collate):
    batch = multi_view_batch(collate)
    labels = [[0, 3], [], [2]]
    for s, label in zip(batch['data_samples'], labels):
        del s.gt_score
        s.set_gt_label(label)
    samples = MultiViewDataPreprocessor()(batch, training=True)['data_samples']
    assert [s.gt_label.tolist() for s in samples] == labels + labels
    assert not any('gt_score' in s for s in samples)


@pytest.mark.parametrize('collate', COLLATE)
def test_mixup_does_not_share_targets(collate, monkeypatch):
    """Every row gets the target of its own mixture."""
    preprocessor = MultiViewDataPreprocessor(
        num_views=2,
        num_classes=5,
        batch_augments=dict(augments=dict(type='Mixup', alpha=1.0)),
    )
    order = torch.tensor([1, 2, 3, 4, 5, 0])
    monkeypatch.setattr(torch, 'randperm', lambda n: order)
    monkeypatch.setattr(np.random, 'beta', lambda a, b: 0.75)
    batch = multi_view_batch(collate)
    for s in batch['data_samples']:
        s.gt_score.clamp_(min=0)
    data = preprocessor(batch, training=True)

    rows = [(v, b) for v in range(2) for b in range(3)]
    for row, (v, b) in enumerate(rows):
        v2, b2 = rows[order[row]]
        mixed = 0.75 * image(v, b).float() + 0.25 * image(v2, b2).float()
        torch.testing.assert_close(data['inputs'][row], mixed)
        expected = torch.zeros(5)
        expected[b] += 0.75
        expected[b2] += 0.25
        torch.testing.assert_close(data['data_samples'][row].gt_score, expected)

    # Not at test time.
    batch = multi_view_batch(collate)
    data = preprocessor(batch, training=False)
    assert data['data_samples'][1].gt_score.tolist() == [0, 1, 0, 0, -1]


@pytest.mark.parametrize('views', [1, 2])
@pytest.mark.parametrize('collate', COLLATE)
def test_mixup_of_unknown_targets(collate, views):
    """1 mixed with -1 would pass for a soft target."""
    preprocessor = MultiViewDataPreprocessor(
        batch_augments=dict(augments=dict(type='Mixup', alpha=1.0))
    )
    batch = single_view_batch(collate) if views == 1 else multi_view_batch(collate)
    with pytest.raises(ValueError, match='unknown targets.*image 0.jpg'):
        preprocessor(batch, training=True)
    samples = preprocessor(batch, training=False)['data_samples']
    assert samples[0].gt_score.tolist() == [1, 0, 0, 0, -1]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('batch_size', BATCH_SIZES)
@pytest.mark.parametrize('collate', COLLATE)
@pytest.mark.parametrize(
    'options', [dict(), NORM, dict(pad_size_divisor=8, pad_value=3)]
)
def test_single_view_as_mmpretrain(options, collate, batch_size, training):
    ours = MultiViewDataPreprocessor(**options)(
        single_view_batch(collate, batch_size), training
    )
    theirs = ClsDataPreprocessor(**options)(
        single_view_batch(collate, batch_size), training
    )
    assert set(ours) == set(theirs)
    assert torch.equal(ours['inputs'], theirs['inputs'])
    assert len(ours['data_samples']) == batch_size
    for a, b in zip(ours['data_samples'], theirs['data_samples'], strict=True):
        assert torch.equal(a.gt_score, b.gt_score)
        assert a.img_path == b.img_path


def test_single_view_of_different_sizes_is_padded():
    images = [image(0, 0, (4, 6)), image(0, 1, (5, 3))]
    data = MultiViewDataPreprocessor()(dict(inputs=images))
    assert data['inputs'].shape == (2, 3, 5, 6)
    assert torch.equal(
        data['inputs'], ClsDataPreprocessor()(dict(inputs=images))['inputs']
    )


@pytest.mark.parametrize('collate', COLLATE)
def test_test_input_needs_no_views(collate):
    preprocessor = MultiViewDataPreprocessor(num_views=2)
    data = preprocessor(single_view_batch(collate), training=False)
    assert data['inputs'].shape == (3, 3, 4, 6)
    with pytest.raises(ValueError, match='num_views=2 views of every image, got 1'):
        preprocessor(single_view_batch(collate), training=True)


@pytest.mark.parametrize('collate', COLLATE)
@pytest.mark.parametrize('views', [1, 2])
def test_channels_last(collate, views):
    def batch():
        if views == 1:
            return single_view_batch(collate)
        return multi_view_batch(collate)

    plain = MultiViewDataPreprocessor(**NORM)(batch())['inputs']
    last = MultiViewDataPreprocessor(channels_last=True, **NORM)(batch())['inputs']
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert not plain.is_contiguous(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(3, 4, 3)
    torch.testing.assert_close(conv(plain), conv(last))


def test_stored_features_under_autocast():
    """A CPU's autocast cannot join tensors of float16."""
    views = [image(view, 0)[None].half() for view in range(2)]
    preprocessor = MultiViewDataPreprocessor(num_views=2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        data = preprocessor(dict(inputs=views, data_samples=[sample(0)]), True)
    assert torch.equal(data['inputs'].half(), torch.cat(views))


@pytest.mark.parametrize('collate', COLLATE)
def test_no_data_samples(collate):
    batch = multi_view_batch(collate)
    with_samples = MultiViewDataPreprocessor()(batch)
    for data in (dict(inputs=batch['inputs']), dict(batch, data_samples=None)):
        result = MultiViewDataPreprocessor(num_views=2)(data, training=True)
        assert torch.equal(result['inputs'], with_samples['inputs'])
        assert result['data_samples'] is None


@pytest.mark.parametrize('collate', COLLATE)
@pytest.mark.parametrize(('expected', 'got'), [(2, 3), (3, 2), (1, 2)])
def test_wrong_number_of_views(collate, expected, got):
    preprocessor = MultiViewDataPreprocessor(num_views=expected)
    with pytest.raises(ValueError, match=f'num_views={expected} views.*got {got}'):
        preprocessor(multi_view_batch(collate, got), training=True)


@pytest.mark.parametrize('collate', COLLATE)
def test_views_of_different_sizes(collate):
    batch = collate([dict(inputs=[image(0, b), image(1, b, (4, 5))]) for b in range(3)])
    with pytest.raises(ValueError, match='same shape') as error:
        MultiViewDataPreprocessor()(batch, training=True)
    assert '3, 4, 6)' in str(error.value) and '3, 4, 5)' in str(error.value)


def test_views_of_different_numbers_of_images():
    inputs = [[image(0, 0), image(0, 1)], [image(1, 0)]]
    with pytest.raises(ValueError, match=r'same shape, got \[\(2, .*\(1, '):
        MultiViewDataPreprocessor()(dict(inputs=inputs), training=True)


@pytest.mark.parametrize('num_views', [0, -2])
def test_bad_num_views(num_views):
    with pytest.raises(
        ValueError, match=f'num_views must be positive, got {num_views}'
    ):
        MultiViewDataPreprocessor(num_views=num_views)


@pytest.mark.parametrize('collate', COLLATE)
def test_with_transforms_of_mmpretrain(collate):
    pipeline = [
        TRANSFORMS.build(
            dict(
                type='MultiView',
                num_views=[1, 1],
                transforms=[
                    [dict(type='RandomFlip', prob=0.0)],
                    [dict(type='RandomFlip', prob=1.0)],
                ],
            )
        ),
        TRANSFORMS.build(dict(type='PackInputs')),
    ]
    items = []
    for b in range(3):
        item = dict(img=image(0, b).permute(1, 2, 0).numpy(), gt_label=[b])
        for transform in pipeline:
            item = transform(item)
        items.append(item)
    data = MultiViewDataPreprocessor(num_views=2)(collate(items), training=True)
    for b in range(3):
        assert torch.equal(data['inputs'][b], image(0, b).float())
        assert torch.equal(data['inputs'][3 + b], image(0, b).float().flip(-1))
    assert [s.gt_label.tolist() for s in data['data_samples']] == [[0], [1], [2]] * 2


@pytest.mark.parametrize('collate', COLLATE)
@pytest.mark.parametrize('num_views', [1, 2, 3])
def test_views_of_an_image_share_its_number(collate, num_views):
    preprocessor = MultiViewDataPreprocessor(num_views=num_views)
    data = preprocessor(multi_view_batch(collate, num_views, 4), True)
    numbers = collect_image_numbers(data['data_samples'])
    if num_views == 1:
        assert numbers is None
    else:
        assert numbers.tolist() == [0, 1, 2, 3] * num_views
        assert numbers.dtype == torch.int64
