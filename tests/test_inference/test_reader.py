# SPDX-License-Identifier: Apache-2.0
import os

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config

from mlcl_plugin.inference.reader import Reader, build_pipeline
from mlcl_plugin.inference.sources import Source


def drop(results):
    return None


@pytest.fixture
def path(tmp_path):
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    return str(tmp_path / 'a.png')


@pytest.mark.parametrize(
    'options',
    [dict(), dict(to_float32=True), dict(color_type='unchanged')],
)
def test_pixels_are_read_as_a_file(path, options):
    reader = Reader([LoadImageFromFile(**options)], pictures=True)
    of_file = reader[Source(path, path)]
    of_array = reader[Source('array 0', cv2.imread(path))]
    for key in ('img', 'img_shape', 'ori_shape'):
        np.testing.assert_array_equal(of_file.data[key], of_array.data[key])
    assert of_file.data['img'].dtype == of_array.data['img'].dtype
    np.testing.assert_array_equal(of_file.picture, cv2.imread(path)[..., ::-1])
    np.testing.assert_array_equal(of_file.picture, of_array.picture)


@pytest.mark.parametrize(
    ('transforms', 'name', 'error'),
    [
        ([], 'nowhere.png', 'There is no such file.'),
        ([drop], 'a.png', 'The test pipeline dropped the image.'),
        ([lambda results: results['none']], 'a.png', "KeyError: 'none'"),
    ],
)
def test_errors(path, tmp_path, transforms, name, error):
    path = str(tmp_path / name)
    item = Reader([LoadImageFromFile(), *transforms], pictures=False)[
        Source(path, path)
    ]
    assert (item.data, item.picture, item.error) == (None, None, error)


def test_pipeline_without_targets():
    """Wrappers of the dataset do not matter."""
    pipeline = [
        dict(type='LoadImage'),
        dict(type='LabelsToTargets', num_classes=3),
        dict(type='PackInputs'),
    ]
    dataset = dict(type='RepeatDataset', dataset=dict(pipeline=pipeline))
    transforms = build_pipeline(Config(dict(test_dataloader=dict(dataset=dataset))))
    assert [type(t).__name__ for t in transforms] == ['LoadImage', 'PackInputs']
    with pytest.raises(ValueError, match='no test_dataloader.dataset.pipeline'):
        build_pipeline(Config(dict()))


def test_odd_paths(path, tmp_path):
    """Each is an image that cannot be read, and none stops the work on others."""
    os.mkfifo(tmp_path / 'pipe.png')
    reader = Reader([LoadImageFromFile()], pictures=False)
    for name, error in {
        f'{tmp_path}/pipe.png': 'is a named pipe, expected a file',
        '/dev/zero': 'is a device',
        'ftp://host/a.png': "begins with 'ftp', which cannot be read",
        f'file://{tmp_path}/none.png': 'There is no such file.',
        f'{path} ': "There is no such file. There is '/",
        'a\0b.png': 'There is no such file.',
    }.items():
        item = reader[Source(name, name)]
        assert item.data is None and error in item.error
    url = f'file://{path}'
    assert reader[Source(url, url)].data['img_shape'] == (4, 5)


@pytest.mark.parametrize('kind', ['LoadImage', 'LoadImageFromFile'])
def test_limit_of_pixels(path, kind):
    """MMCV's loader has none: ours, which reads the same, takes its place."""

    def read(max_pixels=None, **options):
        dataset = dict(pipeline=[dict(type=kind, color_type='grayscale', **options)])
        cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
        transforms = build_pipeline(cfg, max_pixels)
        return Reader(transforms, pictures=False)[Source(path, path)]

    expected = LoadImageFromFile(color_type='grayscale')(dict(img_path=path))
    for max_pixels in (None, 20):
        np.testing.assert_array_equal(read(max_pixels).data['img'], expected['img'])
    assert 'has 5 x 4 pixels, more than max_pixels=19' in read(19).error
    if kind == 'LoadImage':
        assert read(max_pixels=20, to_float32=True).data['img'].dtype == np.float32
