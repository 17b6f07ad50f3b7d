# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from mlcl_plugin.inference.pixels import PICTURE_SIZE, to_bgr, to_thumbnail, to_view


def test_grey():
    picture = to_view(torch.arange(6, dtype=torch.uint8).view(1, 2, 3), False)
    assert picture.shape == (2, 3, 3) and picture[1, 2].tolist() == [5, 5, 5]


def test_normalized():
    """Values of any range are stretched."""
    inputs = torch.tensor([-2.0, 0.0, 2.0]).view(3, 1, 1)
    assert to_view(inputs, bgr=False)[0, 0].tolist() == [0, 127, 255]
    assert to_view(inputs, bgr=True)[0, 0].tolist() == [255, 127, 0]
    assert to_view(torch.full((3, 1, 1), 7.0), bgr=False).max() == 0


@pytest.mark.parametrize('shape', [(2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4)])
def test_kinds_of_arrays(shape):
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape) << 8
    expected = image.reshape(2, 3, -1)[..., :3] >> 8
    assert (to_bgr(image) == np.broadcast_to(expected, (2, 3, 3))).all()
    assert (to_bgr((image >> 8).astype(np.uint8)) == to_bgr(image)).all()


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((2, 2, 3)), r'got \(2, 2, 3\) of float64'),
        (np.zeros((2, 2, 2), np.uint8), r'got \(2, 2, 2\) of uint8'),
        (np.zeros((0, 2, 3), np.uint8), r'is empty, got the shape \(0, 2, 3\)'),
    ],
)
def test_bad_arrays(image, message):
    with pytest.raises(ValueError, match=message):
        to_bgr(image)


def test_thumbnail():
    wide = np.zeros((2, 2 * PICTURE_SIZE, 3), np.float32)
    wide[..., 0] = 300
    small = to_thumbnail(wide)
    assert small.shape == (1, PICTURE_SIZE, 3)
    assert small[0, 0].tolist() == [0, 0, 255]
    # It is never enlarged.
    assert to_thumbnail(np.zeros((3, 5), np.uint8)).shape == (3, 5, 3)
