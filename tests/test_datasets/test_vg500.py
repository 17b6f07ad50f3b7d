# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets.vg500 import VG500
from mlcl_plugin.engine import set_default_dataloader_cfg
from mlcl_plugin.models.utils import collect_targets

ROOT = Path(__file__).parents[2]
LABELS = {
    '2407890.jpg': [499, 3, 77, 3],
    '1.jpg': [],
    '30.jpg': [0],
    '150.jpg': [5, 1],
}
TRAIN, TEST = ['30.jpg', '1.jpg', '2407890.jpg'], ['150.jpg']


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'vg_category_500_labels_index.json').write_text(json.dumps(LABELS))
    (tmp_path / 'train_list_500.txt').write_text('\n'.join(TRAIN))
    (tmp_path / 'test_list_500.txt').write_text('\r\n'.join(TEST) + '\n\n')
    return tmp_path


def build(root, **kwargs):
    # serialization ends with a garbage collection, which takes its time
    kwargs = dict(serialize_data=False) | kwargs
    return DATASETS.build(dict(type='VG500', data_root=str(root), **kwargs))


def read(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert all(set(i) == {'img_path', 'gt_label', 'sample_idx'} for i in infos)
    return {info['img_path']: info['gt_label'] for info in infos}


@pytest.mark.parametrize(('split', 'names'), [('train', TRAIN), ('test', TEST)])
def test_lists(root, split, names):
    dataset = build(root, split=split)
    assert isinstance(dataset, VG500)
    assert len(dataset.metainfo['classes']) == 500
    assert dataset.metainfo['classes'][499] == 'label 499'
    expected = {str(root / 'VG_100K' / n): sorted(set(LABELS[n])) for n in names}
    assert read(dataset) == expected and list(read(dataset)) == list(expected)
    assert f'List of images: \t{root}/{split}_list_500.txt' in repr(dataset)


def test_options(root, tmp_path):
    assert len(build(root, keep_unlabelled=False)) == 2
    (root / 'other.txt').write_text('150.jpg')
    (root / 'names.txt').write_text('\n'.join(f'n {i}' for i in range(6)))
    options = dict(
        image_list='other.txt', classes=str(root / 'names.txt'), data_prefix='images'
    )
    dataset = build(root, **options)
    assert read(dataset) == {str(root / 'images/150.jpg'): [1, 5]}
    assert dataset.metainfo['classes'] == tuple(f'n {i}' for i in range(6))
    options = dict(num_classes=6, image_list=str(root / 'other.txt'))
    assert len(build(root, **options).metainfo['classes']) == 6


@settings(deadline=None, max_examples=30)
@given(
    labels=st.dictionaries(
        st.text(st.characters(codec='utf-8', exclude_categories='C'), min_size=1)
        .map(lambda text: f'{text.strip()}.jpg')
        # A path with :// is a URL.
        .filter(lambda name: '://' not in name),
        st.lists(st.integers(0, 9604)),
        min_size=1,
        max_size=9,
    )
)
def test_round_trip(tmp_path_factory, labels):
    root = tmp_path_factory.mktemp('vg500')
    text = json.dumps(labels, ensure_ascii=False)
    (root / 'vg_category_500_labels_index.json').write_text(text, encoding='utf-8')
    lines = '\n'.join(labels)
    (root / 'train_list_500.txt').write_text(lines, encoding='utf-8', newline='')
    dataset = build(root, num_classes=9605, allow_outside=True)
    # not Path, which would tidy up a//b
    assert read(dataset) == {
        os.path.join(root, 'VG_100K', name): sorted(set(found))
        for name, found in labels.items()
    }


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(split='val'), "'train' or 'test', got 'val'"),
        (dict(num_classes=0), 'num_classes must be an int of 1 or more'),
        (dict(num_classes=True), 'num_classes must be an int of 1 or more'),
        (dict(data_prefix=dict(img='x')), 'expected .img_path'),
        (dict(num_classes=499), r"labels_index.json: '2407890.jpg' .*label 499"),
        (dict(classes=['a', 'a']), "'a' more than once"),
    ],
)
def test_bad_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        build(root, **options)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"30.jpg": [1', 'is not valid JSON'),
        ('', 'is not valid JSON'),
        ('[]', 'Expected `object`, got `array`'),
        ('{"30.jpg": 1}', 'Expected `array`, got `int`'),
        ('{"30.jpg": [1.5]}', 'Expected `int`, got `float`'),
        ('{"30.jpg": ["cat"]}', 'Expected `int`, got `str`'),
        ('{"30.jpg": [-1], "1.jpg": []}', "'30.jpg' has the label -1"),
        ('{"30.jpg": [0]}', "no labels for '1.jpg', which .*train_list.*'30.jpg'"),
        ('{}', "no labels for '30.jpg'"),
    ],
)
def test_malformed_labels(root, text, message):
    (root / 'vg_category_500_labels_index.json').write_text(text)
    with pytest.raises(ValueError, match=f'labels_index.json.*{message}'):
        build(root)


def test_missing_files(root):
    with pytest.raises(FileNotFoundError, match='other.txt.*image_list'):
        build(root, image_list='other.txt')
    with pytest.raises(FileNotFoundError, match='other.json.*ann_file.*data_root'):
        build(root, ann_file='other.json')
    (root / 'train_list_500.txt').write_text('1.jpg\n')
    with pytest.raises(ValueError, match='none of the 1 images has a label'):
        build(root, keep_unlabelled=False)
    (root / 'train_list_500.txt').write_text('')
    with pytest.raises(ValueError, match='train_list_500.txt is empty'):
        build(root)


@pytest.mark.parametrize('pipeline', ['train_pipeline', 'two_view_pipeline'])
def test_in_a_dataloader(root, pipeline):
    """With the config's pipelines, as the runner builds it."""
    rng = np.random.default_rng(0)
    (root / 'VG_100K').mkdir()
    for name in TRAIN:
        img = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
        cv2.imwrite(str(root / 'VG_100K' / name), img)
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/vg500_mlcl_448.py')
    loader = cfg.train_dataloader
    loader.update(batch_size=3, num_workers=0)
    loader.sampler.shuffle = False
    loader.dataset.update(data_root=str(root), pipeline=cfg[pipeline])
    set_default_dataloader_cfg(cfg)
    (batch,) = Runner.build_dataloader(cfg.train_dataloader)
    views = batch['inputs'] if pipeline == 'two_view_pipeline' else [batch['inputs']]
    assert [tuple(view.shape) for view in views] == [(3, 3, 448, 448)] * len(views)
    targets = collect_targets(batch['data_samples'], 500)
    assert targets.nonzero().tolist() == [[0, 0], [2, 3], [2, 77], [2, 499]]
