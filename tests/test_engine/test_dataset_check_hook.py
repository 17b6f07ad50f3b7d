# SPDX-License-Identifier: Apache-2.0
import json
from types import SimpleNamespace

import pytest
from mmengine.runner import Runner
from mmpretrain.models import AverageClsScoreTTA
from torch import nn

from mlcl_plugin.engine import DatasetCheckHook
from mlcl_plugin.errors import OtherLabelsError


@pytest.fixture
def plain_runner(load_config):
    """Function that gives a plain run of one epoch."""

    def make(changes=None):
        cfg = load_config({'train_cfg.max_epochs': 1, **(changes or {})})
        cfg.pop('steps'), cfg.pop('runner_type')
        return Runner.from_cfg(cfg)

    return make


def json_dataset(tmp_path, images, classes=None):
    """Config of MMPretrain's own multi-label dataset."""
    path = tmp_path / 'labels.json'
    metainfo = {} if classes is None else dict(classes=classes)
    path.write_text(json.dumps(dict(metainfo=metainfo, data_list=images)))
    return dict(
        _delete_=True,
        type='MultiLabelDataset',
        ann_file=str(path),
        # MMEngine fails to serialize an empty list, before any hook sees it
        serialize_data=False,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=3),
            dict(type='PackInputs'),
        ],
    )


def test_agreement(plain_runner, record):
    plain_runner().train()
    assert record.epochs() == [('work', 0)]


@pytest.mark.parametrize('part', ['neck', 'head'])
def test_number_of_classes_differs(plain_runner, record, part):
    runner = plain_runner({f'model.{part}.num_classes': 5})
    message = (
        rf'model.{part}.num_classes=5, but the {{}} dataset \(CocoMultiLabel\) has 3 '
        'classes. Set num_classes of neck and head .* to 3'
    )
    with pytest.raises(ValueError, match=message.format('train')):
        runner.train()
    # before any work
    assert record.epochs() == []
    with pytest.raises(ValueError, match=message.format('val')):
        runner.val()
    with pytest.raises(ValueError, match=message.format('test')):
        runner.test()


def test_validation_set_differs(plain_runner, record):
    """The error comes before the first epoch, not after it."""
    runner = plain_runner({'val_dataloader.dataset.classes': ('cat', 'owl')})
    with pytest.raises(ValueError, match='num_classes=3, but the val .* has 2 classes'):
        runner.train()
    assert record.epochs() == []


def test_order_of_classes_differs(plain_runner, record):
    """The number agrees, so no other check raises."""
    classes = list(plain_runner().val_dataloader.dataset.metainfo['classes'])
    other = [classes[0], classes[2], classes[1]]
    changes = {'val_dataloader.dataset.classes': other}
    message = (
        'the validation dataset has other labels than the training dataset: .* another '
        f"order: label 1 is '{other[1]}' in the validation dataset, expected "
        f"'{classes[1]}'"
    )
    with pytest.raises(OtherLabelsError, match=message):
        plain_runner(changes).train()
    assert record.epochs() == []
    plain_runner({**changes, 'allow_other_labels': True}).train()
    assert record.epochs() == [('work', 0)]


def test_no_validation_set(plain_runner, record):
    fields = ('val_dataloader', 'val_evaluator', 'val_cfg')
    plain_runner(dict.fromkeys(fields)).train()
    assert record.epochs() == [('work', 0)]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_no_image(plain_runner, tmp_path, split):
    dataset = json_dataset(tmp_path, [], ['cat', 'dog', 'owl'])
    runner = plain_runner({f'{split}_dataloader.dataset': dataset})
    with pytest.raises(
        ValueError, match=rf'The {split} dataset \(MultiLabelDataset\) has no image'
    ):
        runner.train()


def test_dataset_without_class_names(plain_runner, record, tiny_coco, tmp_path):
    """No names to compare."""
    images = [
        dict(img_path=str(tiny_coco / f'train/{i:03}.png'), gt_label=[0, 2])
        for i in range(4)
    ]
    dataset = json_dataset(tmp_path, images)
    plain_runner({'train_dataloader.dataset': dataset}).train()
    assert record.epochs() == [('work', 0)]


@pytest.mark.parametrize('wrapped', ['alone', 'parallel', 'tta'])
def test_wrapped_model(wrapped):
    model = nn.Module()
    model.head = SimpleNamespace(num_classes=4)
    if wrapped == 'parallel':
        model = nn.DataParallel(model)
    elif wrapped == 'tta':
        # MMEngine asks for it.
        model.test_step = None
        model = AverageClsScoreTTA(model)
    dataset = type('Dataset', (list,), dict(metainfo=dict(classes='abc')))([0])
    runner = SimpleNamespace(
        model=model, test_dataloader=SimpleNamespace(dataset=dataset)
    )
    with pytest.raises(ValueError, match='model.head.num_classes=4'):
        DatasetCheckHook().before_test(runner)
    dataset.metainfo = dict(classes='abcd')
    DatasetCheckHook().before_test(runner)
