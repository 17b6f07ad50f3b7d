# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from mlcl_plugin.datasets import FastPackInputs

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
INPUTS = {
    'image': IMAGE,
    'one pixel': IMAGE[:1, :1],
    'three rows': np.ascontiguousarray(IMAGE[:3, :3]),
    'flipped': np.flip(IMAGE, axis=1),
    'cropped': IMAGE[1:4, 1:3],
    'transposed': IMAGE.transpose(1, 0, 2),
    'float': IMAGE.astype(np.float32),
    'gray': IMAGE[..., 0],
    'one channel': np.ascontiguousarray(IMAGE[..., :1]),
    'four channels': np.concatenate([IMAGE, IMAGE[..., :1]], axis=2),
    'ten crops': np.stack([IMAGE] * 10),
    'pil': Image.fromarray(IMAGE),
    'tensor': torch.from_numpy(IMAGE),
    'views': [IMAGE, np.flip(IMAGE, axis=1).copy(), np.flip(IMAGE, axis=1)],
}


@pytest.mark.parametrize('name', INPUTS)
def test_same_as_pack_inputs(name):
    results = dict(
        img=INPUTS[name], gt_label=[1, 3], img_path='1.jpg', img_shape=(5, 4)
    )
    pack = TRANSFORMS.build(dict(type='FastPackInputs'))
    assert isinstance(pack, FastPackInputs)
    got, expected = pack(dict(results)), PackInputs()(dict(results))
    assert got.keys() == expected.keys()
    assert got['data_samples'].gt_label.tolist() == [1, 3]
    assert got['data_samples'].metainfo == expected['data_samples'].metainfo
    views, theirs = got['inputs'], expected['inputs']
    assert isinstance(views, list) == isinstance(theirs, list) == (name == 'views')
    if name != 'views':
        views, theirs = [views], [theirs]
    for view, their in zip(views, theirs, strict=True):
        assert view.dtype == their.dtype
        assert view.shape == their.shape
        assert view.is_contiguous() == their.is_contiguous()
        assert torch.equal(view, their)


def test_by_hand():
    packed = FastPackInputs()(dict(img=IMAGE))['inputs']
    assert packed.shape == (3, 5, 4)
    for (row, column, channel), value in np.ndenumerate(IMAGE):
        assert packed[channel, row, column] == value


def test_is_a_copy():
    image = IMAGE.copy()
    packed = FastPackInputs()(dict(img=image))['inputs']
    image[:] = 0
    assert packed.any()
    packed += 1


def test_batch_of_views():
    items = [FastPackInputs()(dict(img=INPUTS['views'])) for _ in range(2)]
    inputs = default_collate(items)['inputs']
    assert [tuple(view.shape) for view in inputs] == [(2, 3, 5, 4)] * 3
    assert {view.dtype for view in inputs} == {torch.uint8}


def test_options():
    pack = FastPackInputs(input_key='photo', algorithm_keys=('box',), meta_keys=('id',))
    packed = pack(dict(photo=IMAGE, box=[1, 2], id=7))
    assert packed['inputs'].shape == (3, 5, 4)
    assert packed['data_samples'].box == [1, 2]
    assert packed['data_samples'].metainfo == dict(id=7)
