# SPDX-License-Identifier: Apache-2.0
import copy
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from mlcl_plugin.datasets.hide_labels import HideLabels

NUM_IMAGES, NUM_CLASSES = 60, 12
CLASSES = [f'class {i}' for i in range(NUM_CLASSES)]


def make_targets(seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((NUM_IMAGES, NUM_CLASSES)) < 0.3).astype(int)
    # an image without labels, one with all, one with a single label
    targets[0], targets[1], targets[2] = 0, 1, 0
    targets[2, 5] = 1
    return targets


TARGETS = make_targets()


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """Function that gives the config of MMPretrain's own multi-label dataset."""
    root = tmp_path_factory.mktemp('hide_labels')
    cv2.imwrite(str(root / 'image.png'), np.zeros((8, 8, 3), np.uint8))

    def make(key='gt_label', classes=CLASSES, infos=None, **kwargs):
        if infos is None:
            infos = [
                {
                    key: np.flatnonzero(row).tolist()
                    if key == 'gt_label'
                    else row.tolist()
                }
                for row in TARGETS
            ]
        for info in infos:
            info['img_path'] = 'image.png'
        metainfo = {} if classes is None else dict(classes=classes)
        name = f'{len(list(root.iterdir()))}.json'
        content = dict(metainfo=metainfo, data_list=infos)
        (root / name).write_text(json.dumps(content))
        pipeline = [
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=NUM_CLASSES),
            dict(type='FastPackInputs'),
        ]
        return dict(
            type='MultiLabelDataset',
            data_root=str(root),
            ann_file=name,
            pipeline=pipeline,
            # serialization ends with a garbage collection, which takes its time
            **dict(serialize_data=False) | kwargs,
        )

    return make


def build(source, **kwargs):
    dataset = kwargs.pop('dataset', None) or source()
    return DATASETS.build(dict(type='HideLabels', dataset=dataset, **kwargs))


def scores(dataset):
    return np.stack([dataset.get_data_info(i)['gt_score'] for i in range(len(dataset))])


def through_pipeline(dataset):
    return torch.stack([item['data_samples'].gt_score for item in dataset])


def test_is_registered(source):
    assert isinstance(build(source, keep=0.5), HideLabels)


@pytest.mark.parametrize('key', ['gt_label', 'gt_score'])
@pytest.mark.parametrize('unknown_as', [-1, 0])
@pytest.mark.parametrize('keep', [0.1, 0.5, 0.9])
def test_random(source, key, keep, unknown_as):
    hidden = scores(
        build(source, dataset=source(key), keep=keep, seed=3, unknown_as=unknown_as)
    )
    kept = scores(build(source, keep=keep, seed=3)) >= 0
    np.testing.assert_array_equal(hidden, np.where(kept, TARGETS, unknown_as))
    # of present and of absent entries alike, within five standard deviations
    for value in (0, 1):
        number = (value == TARGETS).sum()
        share = kept[value == TARGETS].mean()
        assert abs(share - keep) < 5 * (keep * (1 - keep) / number) ** 0.5


@pytest.mark.parametrize('unknown_as', [-1, 0])
def test_single_positive(source, unknown_as):
    hidden = scores(build(source, mode='single_positive', unknown_as=unknown_as))
    for row, targets in zip(hidden, TARGETS):
        assert set(row) <= {1, unknown_as}
        assert (row == 1).sum() == min(targets.sum(), 1)
        assert targets[row == 1].all()
    # picked at random: not always the first or last
    places = [
        np.flatnonzero(targets).tolist().index(row.argmax()) / (targets.sum() - 1)
        for row, targets in zip(hidden, TARGETS)
        if targets.sum() > 1
    ]
    assert 0.3 < np.mean(places) < 0.7


def test_each_positive_is_picked_equally_often(source):
    picked = np.zeros(NUM_CLASSES)
    # the image with all labels
    inner = DATASETS.build(source(indices=[1]))
    for seed in range(600):
        dataset = HideLabels(inner, mode='single_positive', seed=seed)
        picked += scores(dataset)[0] == 1
    # 50 of each expected
    assert picked.sum() == 600
    assert picked.min() > 20 and picked.max() < 85


def test_keep_all(source):
    np.testing.assert_array_equal(scores(build(source, keep=1)), TARGETS)


def test_smaller_share_is_part_of_larger(source):
    few, many = (scores(build(source, keep=keep)) >= 0 for keep in (0.2, 0.6))
    assert few.sum() < many.sum() and not (few & ~many).any()


@pytest.mark.parametrize('options', [dict(keep=0.4), dict(mode='single_positive')])
def test_depends_on_seed_and_index_only(source, options):
    first = scores(build(source, **options))
    # Global state and what was drawn before have no part in it.
    np.random.seed(1)
    torch.manual_seed(1)
    again = build(source, dataset=source(serialize_data=True), **options)
    np.testing.assert_array_equal(scores(again), first)
    np.testing.assert_array_equal(scores(again), first)
    # fewer images: the same of those that are left
    part = build(source, dataset=source(indices=7), **options)
    np.testing.assert_array_equal(scores(part), first[:7])
    assert not np.array_equal(scores(build(source, seed=1, **options)), first)


def test_known_numbers(source):
    """The same on every machine and with every version of numpy."""
    dataset = build(source, keep=0.25, seed=5)
    shown = [np.flatnonzero(row >= 0).tolist() for row in scores(dataset)[:4]]
    expected = [[4, 7, 8, 11], [6, 7], [0, 4, 6, 7, 9], [1, 4, 5, 8, 9, 11]]
    assert shown == expected


def test_pipeline_sees_what_is_left(source):
    dataset = build(source, keep=0.3)
    np.testing.assert_array_equal(through_pipeline(dataset), scores(dataset))
    assert through_pipeline(dataset).dtype == torch.float32
    item = dataset[1]
    assert item['inputs'].shape == (3, 8, 8)
    # indices of the present labels that are known, and nothing of the others
    expected = np.flatnonzero(scores(dataset)[1] == 1)
    assert item['data_samples'].gt_label.tolist() == expected.tolist()
    assert item['data_samples'].sample_idx == 1


def test_cat_ids(source):
    dataset = build(source, mode='single_positive')
    for i in range(len(dataset)):
        expected = np.flatnonzero(scores(dataset)[i] == 1).tolist()
        assert dataset.get_cat_ids(i) == expected
        assert dataset.get_data_info(i)['gt_label'] == expected


def test_workers(source):
    """Every process of a dataloader hides the same, in every epoch."""
    dataset = build(source, keep=0.3)
    loader = DataLoader(
        dataset, batch_size=7, num_workers=2, collate_fn=lambda items: items
    )
    for _ in range(2):
        seen = [item['data_samples'].gt_score for batch in loader for item in batch]
        np.testing.assert_array_equal(torch.stack(seen), scores(dataset))


def test_unknown_labels_stay_unknown(source):
    """Those that the dataset itself does not know: -1, or in a list of its own."""
    targets = TARGETS.copy()
    targets[:, ::3] = -1
    by_score = source('gt_score', infos=[dict(gt_score=x.tolist()) for x in targets])
    by_list = source(
        infos=[
            dict(
                gt_label=np.flatnonzero(x == 1).tolist(),
                gt_label_difficult=np.flatnonzero(x == -1).tolist(),
            )
            for x in targets
        ]
    )
    for dataset in (by_score, by_list):
        hidden = scores(build(source, dataset=dataset, keep=0.5, unknown_as=0))
        assert (hidden[:, ::3] == -1).all()
        assert (hidden[:, 1::3] >= 0).all()
    other = build(source, dataset=by_list, keep=1, unknown_keys=())
    assert (scores(other) >= 0).all()


def test_coco_and_voc(tiny_coco, tmp_path):
    """Datasets that know their classes only once they have read their files."""
    coco = dict(
        type='CocoMultiLabel',
        data_root=f'{tiny_coco}/',
        ann_file='train.json',
        data_prefix='train',
        pipeline=[dict(type='LoadImage'), dict(type='PackInputs')],
        lazy_init=True,
    )
    dataset = DATASETS.build(
        dict(type='HideLabels', dataset=coco, mode='single_positive', lazy_init=True)
    )
    assert dataset.metainfo.get('classes') is None
    dataset.full_init()
    assert dataset.metainfo['classes'] == ('cat', 'dog', 'owl')
    assert dataset.CLASSES == ('cat', 'dog', 'owl')
    # image n has the labels that are set in the binary number n + 1
    for i in range(len(dataset)):
        (label,) = dataset.get_cat_ids(i)
        assert (i + 1) >> label & 1
        item = dataset[i]['data_samples']
        assert item.gt_score.tolist() == dataset.get_data_info(i)['gt_score'].tolist()

    (tmp_path / 'Annotations').mkdir()
    xml = '<annotation>{}</annotation>'
    box = '<object><name>{}</name><difficult>{}</difficult></object>'
    boxes = [('dog', 0), ('car', 1), ('bus', 0)]
    text = xml.format(''.join(box.format(*x) for x in boxes))
    (tmp_path / 'Annotations/1.xml').write_text(text)
    (tmp_path / 'train.txt').write_text('1')
    voc = dict(
        type='VOCMultiLabel',
        data_root=str(tmp_path),
        image_set_path='train.txt',
        data_prefix=dict(img_path='', ann_path='Annotations'),
    )
    dataset = DATASETS.build(
        dict(type='HideLabels', dataset=voc, mode='single_positive', unknown_as=0)
    )
    score, classes = scores(dataset)[0], dataset.metainfo['classes']
    assert len(classes) == 20
    assert score[classes.index('car')] == -1
    assert sorted(score[[classes.index(x) for x in ('dog', 'bus')]]) == [0, 1]
    assert np.abs(score).sum() == 2


def test_lazy_init(source):
    dataset = build(source, dataset=source(lazy_init=True), keep=0.5, lazy_init=True)
    assert "Haven't been initialized" in repr(dataset)
    # by itself, with the first need
    assert len(dataset) == NUM_IMAGES
    np.testing.assert_array_equal(scores(dataset), scores(build(source, keep=0.5)))
    lazy = build(source, keep=0.5, lazy_init=True)
    assert lazy.get_subset(3).get_cat_ids(1) == dataset.get_cat_ids(1)


def test_object_is_left_alone(source):
    inner = DATASETS.build(source())
    before = copy.deepcopy([inner.get_data_info(i) for i in range(len(inner))])
    dataset = HideLabels(inner, keep=0.1)
    assert (scores(dataset) == -1).any()
    assert [inner.get_data_info(i) for i in range(len(inner))] == before
    # nor can it be changed through what is handed out
    dataset.get_data_info(0)['gt_score'][:] = 1
    np.testing.assert_array_equal(scores(dataset), scores(build(source, keep=0.1)))


@pytest.mark.parametrize('serialize', [False, True])
def test_options_of_the_dataset(source, serialize):
    inner = source(test_mode=True, serialize_data=serialize, max_refetch=7)
    dataset = build(source, dataset=inner, keep=0.5)
    assert dataset.test_mode and dataset.serialize_data == serialize
    assert dataset.max_refetch == 7
    assert dataset.metainfo == dict(classes=CLASSES)
    assert dataset.class_to_idx['class 3'] == 3


def test_pipeline_of_its_own(source):
    """As a step of a config in steps gives its training dataset one."""
    inner = DATASETS.build(source())
    before = list(inner.pipeline.transforms)
    pipeline = [dict(type='PackInputs', input_key='gt_score')]
    dataset = HideLabels(inner, keep=0.5, pipeline=pipeline)
    score = dataset.get_data_info(3)['gt_score']
    assert dataset[3]['inputs'].tolist() == score.tolist()
    assert inner.pipeline.transforms == before


def test_repr(source):
    text = repr(build(source, keep=0.25, seed=4))
    assert 'Number of samples: \t60' in text and 'Number of categories: \t12' in text
    assert 'Labels of: \tMultiLabelDataset' in text
    assert '0.25 of all entries (seed 4)' in text and 'Hidden labels: \tunknown' in text
    assert 'LabelsToTargets' in text
    text = repr(build(source, mode='single_positive', unknown_as=0))
    assert 'one present label per image' in text and 'taken as absent' in text


@pytest.mark.parametrize('wrapped_as', ['config', 'object'])
def test_inside_wrappers(source, wrapped_as):
    """An image has the same labels wherever it ends up."""
    init_default_scope('mmpretrain')
    plain = build(source, keep=0.4)
    expected = scores(plain)

    def inner():
        config = dict(type='HideLabels', dataset=source(), keep=0.4)
        return config if wrapped_as == 'config' else DATASETS.build(config)

    repeated = RepeatDataset(inner(), times=2)
    np.testing.assert_array_equal(scores(repeated), np.tile(expected, (2, 1)))
    np.testing.assert_array_equal(
        repeated[NUM_IMAGES + 1]['data_samples'].gt_score, expected[1]
    )
    joined = ConcatDataset([inner(), inner()])
    np.testing.assert_array_equal(scores(joined), np.tile(expected, (2, 1)))
    balanced = ClassBalancedDataset(inner(), oversample_thr=0.9)
    indices = balanced.repeat_indices
    assert len(indices) > NUM_IMAGES
    np.testing.assert_array_equal(scores(balanced), expected[indices])
    # MMPretrain's takes no object
    config = dict(type='HideLabels', dataset=source(), keep=0.4)
    folds = [
        KFoldDataset(copy.deepcopy(config), fold=fold, num_splits=3, seed=0)
        for fold in range(3)
    ]
    for fold in folds:
        assert len(fold) == 40
        np.testing.assert_array_equal(scores(fold), expected[fold._ori_indices])
        assert fold.get_cat_ids(0) == plain.get_cat_ids(fold._ori_indices[0])
        np.testing.assert_array_equal(
            fold[5]['data_samples'].gt_score, expected[fold._ori_indices[5]]
        )


@pytest.mark.parametrize('serialize', [False, True])
def test_subset(source, serialize):
    dataset = build(source, dataset=source(serialize_data=serialize), keep=0.4)
    expected = scores(dataset)
    np.testing.assert_array_equal(scores(dataset.get_subset([9, 4])), expected[[9, 4]])
    dataset.get_subset_([7, 3])
    np.testing.assert_array_equal(scores(dataset), expected[[7, 3]])


def test_trains(load_config, record):
    """Single positive labels, in a run."""
    cfg = load_config({'train_cfg.max_epochs': 1})
    cfg.pop('steps'), cfg.pop('runner_type')
    cfg.train_dataloader.dataset = dict(
        type='HideLabels', mode='single_positive', dataset=cfg.train_dataloader.dataset
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert record.epochs() == [('work', 0)]
    assert isinstance(runner.train_dataloader.dataset, HideLabels)
    assert torch.isfinite(runner.model.neck.queries).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(keep=0.1, mode='some'), "'random' or 'single_positive', got 'some'"),
        (dict(), 'above 0 and up to 1, got None'),
        (dict(keep=0), 'above 0 and up to 1, got 0'),
        (dict(keep=1.5), 'got 1.5'),
        (dict(keep=True), 'got True'),
        (dict(keep='0.1'), "got '0.1'"),
        (dict(keep=0.1, mode='single_positive'), 'keep=0.1 is for mode'),
        (dict(keep=0.1, seed=-1), 'seed must be an int and not negative, got -1'),
        (dict(keep=0.1, seed=0.5), 'seed must be .* got 0.5'),
        (dict(keep=0.1, unknown_as=1), r'must be -1 \(unknown\) or 0 .* got 1'),
        (dict(keep=0.1, num_classes=0), 'num_classes must be an int of 1 or more'),
        (dict(keep=0.1, num_classes=5), 'num_classes=5, but MultiLabelDataset has 12'),
    ],
)
def test_bad_options(source, options, message):
    with pytest.raises(ValueError, match=message):
        build(source, **options)


def test_number_of_classes(source):
    """From the options or a vector, where the dataset does not name its classes."""
    for dataset, number in (
        (source(classes=None), NUM_CLASSES),
        (source('gt_score', classes=None), None),
    ):
        hidden = scores(build(source, dataset=dataset, keep=0.3, num_classes=number))
        np.testing.assert_array_equal(hidden, scores(build(source, keep=0.3)))
    with pytest.raises(ValueError, match='does not name its classes. Set num_classes'):
        build(source, dataset=source(classes=None), keep=0.3)


@pytest.mark.parametrize(
    ('info', 'message'),
    [
        (dict(), r"There is no 'gt_label' \(image .*image.png\)"),
        (dict(gt_label=[3, 12]), r'label 12 .*from 0 to 11'),
        (dict(gt_score=[1, 0]), r'gt_score has the shape \(2,\)'),
        (dict(gt_score=[2] * NUM_CLASSES), 'gt_score hold 2'),
    ],
)
def test_bad_labels(source, info, message):
    with pytest.raises(ValueError, match=message):
        build(source, dataset=source(infos=[dict(gt_label=[1]), info]), keep=0.3)


def test_without_pipeline(source):
    init_default_scope('mmpretrain')
    wrapper = dict(type='RepeatDataset', times=2, dataset=source())
    message = 'got RepeatDataset. Put it inside: RepeatDataset takes a HideLabels'
    with pytest.raises(ValueError, match=message):
        build(source, dataset=wrapper, keep=0.3)


def test_dataset_that_is_more_than_annotations(source):
    class Mosaic(BaseDataset):
        def prepare_data(self, idx):
            return [super().prepare_data(i) for i in range(4)]

    with pytest.raises(ValueError, match='Mosaic has a prepare_data of its own'):
        HideLabels(Mosaic(lazy_init=True), keep=0.3)
