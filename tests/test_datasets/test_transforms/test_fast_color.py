# SPDX-License-Identifier: Apache-2.0
import cv2
import mmpretrain.datasets
import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS

OPERATIONS = {
    'Brightness': [
        dict(magnitude=0.7),
        dict(magnitude_range=(0, 0.9), magnitude_std='inf'),
        dict(magnitude=5.0, random_negative_prob=0.0),
    ],
    'Solarize': [
        dict(thr=100),
        dict(magnitude_range=(256, 0), magnitude_std='inf'),
        dict(thr=0),
    ],
    'Contrast': [
        dict(magnitude=0.7),
        dict(magnitude_range=(0, 0.9), magnitude_std='inf'),
        dict(magnitude=5.0, random_negative_prob=0.0),
    ],
    'AutoContrast': [dict()],
    'Equalize': [dict()],
}
CASES = [(name, options) for name, several in OPERATIONS.items() for options in several]


def images():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    yield 'noise', noise
    yield 'pixel', noise[:1, :1].copy()
    yield 'black', np.zeros((5, 6, 3), dtype=np.uint8)
    yield 'white', np.full((5, 6, 3), 255, dtype=np.uint8)
    smooth = cv2.resize(noise, (61, 47), interpolation=cv2.INTER_CUBIC)
    yield 'smooth', smooth
    # ranges that differ by channel, one of a single value
    yield 'narrow', (smooth // np.array([2, 5, 255]) + [3, 90, 17]).astype(np.uint8)
    yield 'two values', np.where(smooth > 120, 200, 31).astype(np.uint8)
    yield 'flipped', np.flip(smooth, axis=1)
    yield 'cropped', smooth[3:40, 5:50]
    # enough pixels of few values: large counts
    yield 'large', cv2.resize(noise // 16, (240, 200), interpolation=cv2.INTER_NEAREST)


IMAGES = dict(images())


def both(name, options, img, seed):
    """What ours and MMPretrain's give, and the number drawn next."""
    for prefix in ('Fast', ''):
        transform = TRANSFORMS.build(dict(type=prefix + name, prob=0.7, **options))
        assert isinstance(transform, getattr(mmpretrain.datasets, name))
        given = img.copy() if img.flags.c_contiguous else img
        given.flags.writeable = False
        np.random.seed(seed)
        yield transform(dict(img=given, gt_label=[2])), np.random.rand(), given


@pytest.mark.parametrize(('name', 'options'), CASES)
@pytest.mark.parametrize('img', IMAGES)
def test_same_as_mmpretrain(name, options, img):
    changed = 0
    for seed in range(8):
        ours, theirs = both(name, options, IMAGES[img], seed)
        assert ours[1] == theirs[1]
        np.testing.assert_equal(ours[0], theirs[0])
        assert ours[0]['img'].dtype == np.uint8
        # Left alone, the image is handed on.
        assert (ours[0]['img'] is ours[2]) == (theirs[0]['img'] is theirs[2])
        changed += ours[0]['img'] is not ours[2]
    assert 0 < changed < 8


@pytest.mark.parametrize('name', OPERATIONS)
@pytest.mark.parametrize('channel', range(3))
def test_every_value(name, channel):
    """All 256 values, in an odd number of pixels, for many strengths."""
    rng = np.random.default_rng(channel)
    img = rng.integers(0, 256, (41, 33, 3), dtype=np.uint8)
    img[:16, :16, channel] = np.arange(256).reshape(16, 16)
    for seed in range(30):
        ours, theirs = both(name, OPERATIONS[name][-2:][0], img, seed)
        np.testing.assert_equal(ours[0]['img'], theirs[0]['img'])


@pytest.mark.parametrize('name', ['Brightness', 'Solarize'])
@pytest.mark.parametrize('shape', [(5, 6), (5, 6, 1), (5, 6, 4)])
def test_other_shapes(name, shape):
    img = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for seed in range(5):
        ours, theirs = both(name, OPERATIONS[name][0], img, seed)
        np.testing.assert_equal(ours[0], theirs[0])


@pytest.mark.parametrize('name', ['Brightness', 'Solarize', 'Contrast'])
def test_other_types(name):
    img = np.random.default_rng(0).uniform(0, 255, (5, 6, 3)).astype(np.float32)
    for seed in range(5):
        ours, theirs = both(name, OPERATIONS[name][0], img, seed)
        np.testing.assert_equal(ours[0], theirs[0])
        assert ours[0]['img'].dtype == np.float32


@pytest.mark.parametrize('name', ['AutoContrast', 'Equalize'])
def test_what_mmpretrain_refuses_is_refused(name):
    gray = np.zeros((5, 6), dtype=np.uint8)
    with pytest.raises(IndexError):
        TRANSFORMS.build(dict(type=f'Fast{name}', prob=1.0))(dict(img=gray))
