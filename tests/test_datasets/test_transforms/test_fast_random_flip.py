# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from mmcv.transforms import RandomFlip
from mmcv.transforms.utils import cache_random_params
from mmpretrain.registry import TRANSFORMS

from mlcl_plugin.datasets import FastRandomFlip

THREE = ['horizontal', 'vertical', 'diagonal']
OPTIONS = [
    dict(prob=0.5),
    dict(prob=1.0, direction='vertical'),
    dict(prob=1.0, direction='diagonal'),
    dict(prob=0.9, direction=THREE),
    dict(prob=[0.2, 0.3, 0.4], direction=THREE),
    dict(prob=0.0),
]


def image(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('shape', [(4, 5, 3), (3, 3, 3), (4, 5), (4, 5, 1), (1, 1, 3)])
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_same_as_random_flip(shape, dtype, options):
    ours = TRANSFORMS.build(dict(type='FastRandomFlip', **options))
    theirs = RandomFlip(**options)
    assert isinstance(ours, FastRandomFlip)
    flips = set()
    for seed in range(20):
        before = image(shape, dtype)
        np.random.seed(seed)
        got = ours(dict(img=before))
        drawn = np.random.rand()
        np.random.seed(seed)
        expected = theirs(dict(img=image(shape, dtype)))
        assert drawn == np.random.rand()
        np.testing.assert_equal(got, expected)
        assert got['img'].dtype == dtype
        assert got['img'].flags.c_contiguous
        # an image that others may hold
        assert np.array_equal(before, image(shape, dtype))
        flips.add(got['flip'])
    if 0 < np.sum(options['prob']) < 0.9:
        assert flips == {True, False}


@pytest.mark.parametrize('prob', [0.0, 0.1, 0.5, 0.9, 1.0])
def test_draws(prob):
    ours, theirs = FastRandomFlip(prob=prob), RandomFlip(prob=prob)
    directions = []
    for transform in (ours, theirs):
        np.random.seed(0)
        directions.append([transform._choose_direction() for _ in range(1000)])
    assert directions[0] == directions[1]
    share = np.mean([direction is not None for direction in directions[0]])
    # five deviations of a mean of 1,000
    assert abs(share - prob) <= 5 * (prob * (1 - prob) / 1000) ** 0.5


@pytest.mark.parametrize('kind', [FastRandomFlip, RandomFlip])
@pytest.mark.parametrize('options', [dict(prob=0.5), dict(prob=0.5, direction=THREE)])
def test_draw_can_be_kept(kind, options):
    """As transforms are used that do the same to several images."""
    transform = kind(**options)
    directions = set()
    for _ in range(20):
        with cache_random_params(transform):
            kept = {
                transform(dict(img=image((2, 3, 3))))['flip_direction']
                for _ in range(9)
            }
        assert len(kept) == 1
        directions |= kept
    assert len(directions) > 1


def test_boxes_and_maps_flip_along():
    results = dict(
        img=image((4, 6, 3)),
        gt_bboxes=np.array([[0.0, 1.0, 2.0, 3.0]]),
        gt_seg_map=image((4, 6)),
    )
    expected = RandomFlip(prob=1.0)(dict(results))
    got = FastRandomFlip(prob=1.0)(dict(results))
    np.testing.assert_equal(got, expected)
    assert got['gt_bboxes'].tolist() == [[4, 1, 6, 3]]
