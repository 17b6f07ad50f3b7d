# SPDX-License-Identifier: Apache-2.0
import copy

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpretrain.datasets import MultiView
from mmpretrain.registry import TRANSFORMS

from mlcl_plugin.datasets import SharedMultiView

FLIP = dict(type='RandomFlip', prob=0.5)
CROP = dict(type='RandomResizedCrop', scale=20)
ERASE = dict(type='RandomErasing', erase_prob=0.9, min_area_ratio=0.2)
RAND_AUGMENT = dict(
    type='RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=9
)


@pytest.fixture(autouse=True)
def default_scope():
    """Names inside a transform are looked up as in a run."""
    init_default_scope('mmpretrain')


def sample():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return dict(
        img=cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC),
        img_path='1.jpg',
        img_shape=(48, 64),
        gt_label=[1, 3],
        gt_score=np.array([0, 1, -1, 1], dtype=np.float32),
    )


def build(transforms, num_views, name='SharedMultiView'):
    return TRANSFORMS.build(
        dict(type=name, num_views=num_views, transforms=copy.deepcopy(transforms))
    )


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_equal(got[key], value, err_msg=key)


@pytest.mark.parametrize('num_views', [1, [2], 3])
@pytest.mark.parametrize(
    'view',
    [[], [FLIP], [CROP, FLIP], [ERASE], [FLIP, ERASE], [FLIP, RAND_AUGMENT, ERASE]],
    ids=lambda view: '-'.join(part['type'] for part in view) or 'nothing',
)
def test_same_as_multi_view(view, num_views):
    ours = build([view], num_views)
    theirs = build([view], num_views, 'MultiView')
    assert isinstance(ours, SharedMultiView) and type(theirs) is MultiView
    images = []
    for seed in range(20):
        np.random.seed(seed)
        got = ours(sample())
        drawn = np.random.rand()
        np.random.seed(seed)
        assert_same(got, theirs(sample()))
        assert drawn == np.random.rand()
        images.append(got['img'])
    if view and num_views != 1:
        # views draw for themselves
        assert any(not np.array_equal(first, second) for first, second, *_ in images)


def test_several_pipelines():
    pipelines = [[dict(type='Resize', scale=(8, 8))], [CROP, FLIP], [ERASE]]
    for seed in range(5):
        np.random.seed(seed)
        got = build(pipelines, [1, 2, 2])(sample())
        np.random.seed(seed)
        assert_same(got, build(pipelines, [1, 2, 2], 'MultiView')(sample()))
        widths = [image.shape[1] for image in got['img']]
        assert widths == [8, 20, 20, 64, 64]


class Scribble:
    """Write into everything that there is, and keep what was there."""

    def __init__(self):
        self.seen = []

    def __call__(self, results):
        self.seen.append(copy.deepcopy(results))
        results['img'][:] = len(self.seen)
        results['gt_score'][:] = 0.5
        results['gt_label'].append(7)
        results['img_shape'] = None
        results['flip'] = True
        return results


@pytest.mark.parametrize('num_views', [1, 2, 3])
def test_views_do_not_meet(num_views):
    scribble = Scribble()
    got = build([[scribble]], num_views)(sample())
    for seen in scribble.seen:
        assert_same(seen, sample())
    values = [np.unique(image).tolist() for image in got.pop('img')]
    assert values == [[number] for number in range(1, num_views + 1)]
    expected = sample()
    del expected['img']
    assert_same(got, expected)


@pytest.mark.parametrize('num_views', [1, 2, 3])
def test_copies_all_but_one(num_views):
    results = sample()
    image = results['img']
    got = build([[]], num_views)(results)['img']
    shared = [np.shares_memory(view, image) for view in got]
    assert shared == [False] * (num_views - 1) + [True]
    assert len({id(view) for view in got}) == num_views
