# SPDX-License-Identifier: Apache-2.0
"""fsspec's store in memory stands for all object stores."""

import json

import fsspec
import numpy as np
import pytest

from mlcl_plugin.datasets import CocoMultiLabel
from mlcl_plugin.datasets.transforms.load_image import LoadImage
from tests.test_datasets.test_tar_shards import encoded, make, picture, write_shards


@pytest.fixture
def store():
    store = fsspec.filesystem('memory')
    yield store
    store.rm('/bucket', recursive=True)


def fill(store, folder, **options):
    write_shards(folder, **options)
    for path in folder.glob('*.tar'):
        store.pipe_file(f'/bucket/{path.name}', path.read_bytes())


def check(dataset, numbers):
    assert len(dataset) == len(numbers)
    for row, number in enumerate(numbers):
        item = LoadImage().transform(dataset.get_data_info(row))
        np.testing.assert_array_equal(item['img'], picture(number))
        assert item['gt_label'] == [label for label in range(3) if number >> label & 1]


def test_shards(tmp_path, store):
    """The same images as on disk; the cache follows the store."""
    fill(store, tmp_path)
    cache = dict(cache_dir=str(tmp_path / 'cache'))
    check(make('memory://bucket', **cache), range(12))
    assert len(list((tmp_path / 'cache').iterdir())) == 1
    check(make('', ann_file='memory://bucket/train-*.tar', **cache), range(12))
    fill(store, tmp_path, shards=2, each=5)
    store.rm('/bucket/train-2.tar')
    check(make('memory://bucket', **cache), range(10))


def test_shard_that_is_cut_off(tmp_path, store):
    fill(store, tmp_path)
    dataset = make('memory://bucket')
    whole = store.cat_file('/bucket/train-0.tar')
    store.pipe_file('/bucket/train-0.tar', whole[:1024])
    with pytest.raises(ValueError, match="'memory:/*bucket/train-0.tar' ends before"):
        LoadImage().transform(dataset.get_data_info(3))
    with pytest.raises(ValueError, match="train-0.tar: the sample 'a/000000' has no"):
        make('memory://bucket')
    store.rm('/bucket/train-0.tar')
    with pytest.raises(FileNotFoundError, match='memory.*bucket/train-0.tar'):
        LoadImage().transform(dataset.get_data_info(3))
    with pytest.raises(FileNotFoundError, match='There is no tar file'):
        make('memory://bucket', ann_file='other-*.tar')


def test_single_images(store):
    """Other datasets, too."""
    store.pipe_file('/bucket/images/5.png', encoded(5))
    content = dict(
        images=[dict(id=1, file_name='5.png')],
        categories=[dict(id=i, name=name) for i, name in enumerate(('cat', 'dog'))],
        annotations=[dict(id=1, image_id=1, category_id=1)],
    )
    store.pipe_file('/bucket/x.json', json.dumps(content).encode())
    dataset = CocoMultiLabel(
        data_root='memory://bucket', ann_file='x.json', data_prefix='images'
    )
    item = LoadImage().transform(dataset.get_data_info(0))
    np.testing.assert_array_equal(item['img'], picture(5))
    assert item['gt_label'] == [1]
