# SPDX-License-Identifier: Apache-2.0
"""Errors in data and configs are reported by name, wherever in a run they show."""

import gc
import json
import shutil

import pytest
from mmengine.registry import RUNNERS

from mlcl_plugin.engine import StepwiseRunner


@pytest.fixture
def data(tiny_coco, tmp_path):
    """A copy of the data set that a test may damage."""
    return shutil.copytree(tiny_coco, tmp_path / 'data')


def run(load_config, changes=None, root=None, test=False):
    kwargs = {} if root is None else dict(root=root)
    runner = RUNNERS.build(load_config(changes, **kwargs))
    assert isinstance(runner, StepwiseRunner)
    return runner.test() if test else runner.train()


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def json_dataset(data, labels, transforms=(), key='gt_label'):
    """Config of MMPretrain's own dataset; all images have the same labels."""
    images = [{'img_path': f'train/{i:03}.png', key: labels} for i in range(4)]
    content = dict(metainfo=dict(classes=['cat', 'dog', 'owl']), data_list=images)
    (data / 'labels.json').write_text(json.dumps(content))
    return dict(
        _delete_=True,
        type='MultiLabelDataset',
        data_root=str(data),
        ann_file='labels.json',
        pipeline=[dict(type='LoadImage'), *transforms, dict(type='PackInputs')],
    )


def targets(num_classes):
    return dict(type='LabelsToTargets', num_classes=num_classes)


@pytest.fixture(params=[0, 1], ids=['in_process', 'in_worker'])
def workers(request, monkeypatch):
    """Config changes: read images in this process, or in a worker."""
    # How long the dataloader waits for a worker that has failed.
    monkeypatch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 0.1)
    yield {
        f'{split}_dataloader.num_workers': request.param
        for split in ('train', 'val', 'test')
    }
    # Free the workers now and not in another test.
    gc.collect()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_no_annotation_file(load_config, data, record, split):
    (data / f'{split}.json').unlink()
    with pytest.raises(FileNotFoundError, match=rf'{data}/{split}\.json.*data_root'):
        run(load_config, root=data)
    assert record.epochs() == []


def test_annotation_file_breaks_off(load_config, data):
    text = (data / 'train.json').read_text()
    (data / 'train.json').write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r'train\.json is not valid JSON'):
        run(load_config, root=data)


def test_unknown_category(load_config, data):
    edit(data / 'val.json', lambda c: c['annotations'][2].update(category_id=99))
    with pytest.raises(ValueError, match=r'val\.json: annotations\[2\].*99'):
        run(load_config, root=data)


def test_unknown_class_name(load_config):
    with pytest.raises(ValueError, match=r"train\.json: 'classes' has \['unicorn'\]"):
        run(load_config, {'train_dataloader.dataset.classes': ('cat', 'unicorn')})


def test_no_image_with_a_label(load_config, data):
    edit(data / 'train.json', lambda content: content['annotations'].clear())
    with pytest.raises(ValueError, match=r'train\.json: no image is left'):
        run(load_config, root=data)


def test_image_is_missing(load_config, data, workers):
    (data / 'train/003.png').unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"no image file '{data}/train/003.png'"
    ):
        run(load_config, workers, data)


@pytest.mark.parametrize('content', [b'', b'no image'], ids=['empty', 'text'])
def test_image_cannot_be_read(load_config, data, workers, content):
    (data / 'train/005.png').write_bytes(content)
    with pytest.raises(ValueError, match='train/005.png'):
        run(load_config, workers, data)


def test_image_cannot_be_read_in_evaluation(load_config, data, workers):
    (data / 'val/005.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='val/005.png'):
        run(load_config, workers, data, test=True)


def test_fewer_targets_than_labels(load_config, workers):
    changes = {
        **workers,
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadImage'),
            targets(2),
            dict(type='PackInputs'),
        ],
    }
    message = r'label 2 .*train/\d+.png.* from 0 to 1 .*num_classes=2'
    with pytest.raises(ValueError, match=message):
        run(load_config, changes)


def test_more_targets_than_labels(load_config):
    changes = {
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadImage'),
            targets(5),
            dict(type='PackInputs'),
        ],
    }
    message = r'gt_score has the shape \(5,\).*train/\d+.png.*num_classes=3'
    with pytest.raises(ValueError, match=message):
        run(load_config, changes)


def test_more_targets_than_labels_in_evaluation(load_config):
    changes = {
        'test_dataloader.dataset.pipeline': [
            dict(type='LoadImage'),
            targets(5),
            dict(type='PackInputs'),
        ],
    }
    message = r'gt_score has the shape \(5,\).*val/000.png.*num_classes=3'
    with pytest.raises(ValueError, match=message):
        run(load_config, changes, test=True)


@pytest.mark.parametrize('transforms', [(), (targets(3),)], ids=['head', 'pipeline'])
@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        ([0, 7], r'label 7 .*train/\d+.png.* from 0 to 2'),
        ([-1], r'label -1 .*train/\d+.png.* from 0 to 2'),
        ([1, 0, 1], r'\[1, 0, 1\].*train/\d+.png.*looks like a vector'),
    ],
    ids=['too_large', 'negative', 'one_hot'],
)
def test_labels_out_of_range(load_config, data, transforms, labels, message):
    """The transform reports it; without the transform, the head does."""
    dataset = json_dataset(data, labels, transforms)
    with pytest.raises(ValueError, match=message):
        run(load_config, {'train_dataloader.dataset': dataset})


@pytest.mark.parametrize(
    ('score', 'message'),
    [
        ([1, 0], r'2 entries|shape \(2,\)'),
        ([1, 0, 3], r'gt_score hold 3(\.0)? .*train/00'),
        ([1, 0, -2], r'gt_score hold -2(\.0)? .*train/00'),
    ],
)
@pytest.mark.parametrize('transforms', [(), (targets(3),)], ids=['head', 'pipeline'])
def test_malformed_targets(load_config, data, transforms, score, message):
    dataset = json_dataset(data, score, transforms, key='gt_score')
    with pytest.raises(ValueError, match=message) as info:
        run(load_config, {'train_dataloader.dataset': dataset})
    assert 'train/00' in str(info.value)


def test_image_without_annotation(load_config, data):
    dataset = json_dataset(data, [0], key='caption')
    with pytest.raises(ValueError, match='neither gt_score nor gt_label.*train/00'):
        run(load_config, {'train_dataloader.dataset': dataset})


@pytest.mark.parametrize('temperature', [0, -0.2, None, '0.2', True])
def test_temperature(load_config, record, temperature):
    """An error in the second step is reported before the first is trained."""
    key = 'steps.step2.model.head.loss_contrastive.temperature'
    with pytest.raises(ValueError, match=f'temperature .* got {temperature!r}'):
        run(load_config, {key: temperature})
    assert record.epochs() == []


def test_views_of_second_step(load_config, record):
    with pytest.raises(ValueError, match='num_views'):
        run(load_config, {'steps.step2.data_preprocessor.num_views': 0})
    assert record.epochs() == []


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_empty_list(load_config, data, record, split, serialize):
    dataset = json_dataset(data, [0])
    edit(data / 'labels.json', lambda content: content['data_list'].clear())
    dataset['serialize_data'] = serialize
    message = r'MultiLabelDataset.*labels\.json' if serialize else 'has no image'
    with pytest.raises(ValueError, match=message):
        run(load_config, {f'{split}_dataloader.dataset': dataset})
    assert record.epochs() == []


def test_batch_larger_than_data(load_config, record):
    changes = {
        'train_dataloader.drop_last': True,
        'steps.step2.train_dataloader.batch_size': 9,
    }
    message = r'7 images .*batch_size=9 and drop_last=True.*steps\.NAME'
    with pytest.raises(ValueError, match=message):
        run(load_config, changes)
    assert ('step2', 0) not in record.epochs()


def test_number_of_views(load_config, record):
    changes = {'steps.step2.data_preprocessor.num_views': 3}
    with pytest.raises(ValueError, match='num_views=3 .* got 2'):
        run(load_config, changes)
    # The first step has one view and is correct.
    assert record.epochs()[-1] == ('step2', 0)


def test_views_of_different_size(load_config):
    views = dict(
        type='MultiView',
        num_views=[1, 1],
        transforms=[[dict(type='Resize', scale=s)] for s in (32, 48)],
    )
    changes = {
        'steps.step2.train_dataloader.dataset.pipeline': [
            dict(type='LoadImage'),
            targets(3),
            views,
            dict(type='PackInputs'),
        ]
    }
    with pytest.raises(ValueError, match=r'same shape.*32, 32.*48, 48'):
        run(load_config, changes)


def test_widths_of_neck_and_head(load_config):
    with pytest.raises(ValueError, match=r'in_channels=24.*got \(4, 3, 16\)'):
        run(load_config, {'model.head.in_channels': 24})


def test_channels_of_backbone_and_neck(load_config):
    with pytest.raises(ValueError, match=r'\(B, 20, H, W\).*got \(4, 16, 4, 4\)'):
        run(load_config, {'model.neck.in_channels': 20})


def test_loss_over_all_classes(load_config):
    """MMPretrain's default loss expects one class per image."""
    loss = dict(type='CrossEntropyLoss')
    with pytest.raises(ValueError, match='CrossEntropyLoss.*use_sigmoid=True'):
        run(load_config, {'model.head.loss': loss})
