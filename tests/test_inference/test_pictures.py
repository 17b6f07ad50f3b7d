# SPDX-License-Identifier: Apache-2.0
import os.path as osp

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mlcl_plugin.inference.pictures import MAX_NAME, PictureFolder, found_maps
from mlcl_plugin.inference.reader import Item
from mlcl_plugin.inference.sources import Source


def place(folder, path):
    return osp.relpath(folder.path(Source(path, path)), folder.out_dir)


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('/photos/a/b.png', 'a/b.png.jpg'),
        ('/photos/b.jpg', 'b.jpg'),
        # Only a whole folder is left out.
        ('/photos2/b.jpg', 'photos2/b.jpg'),
        ('https://host/../../b.png', 'b.png.jpg'),
        ('s3://bucket/b.png', 's3/bucket/b.png.jpg'),
    ],
)
def test_paths(tmp_path, path, expected):
    assert place(PictureFolder(tmp_path / 'out', '/photos'), path) == expected


def test_long_names(tmp_path):
    folder = PictureFolder(tmp_path / 'out', '/photos')
    first, second = (f'/photos/{"é" * 124}{i}.png' for i in 'ab')
    names = [place(folder, path) for path in (first, second)]
    assert names[0] != names[1]
    assert all(len(name.encode()) <= MAX_NAME for name in names)
    assert all(name.endswith('.jpg') for name in names)


def test_arrays(tmp_path):
    folder = PictureFolder(tmp_path / 'out')
    for image in (np.zeros((1, 1)), ''):
        assert folder.path(Source('array 3', image)) == f'{tmp_path}/out/array 3.jpg'


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / 'photo.jpg').touch()
    with pytest.raises(FileExistsError, match='is not empty.*overwrite=True'):
        PictureFolder(tmp_path)
    folder = PictureFolder(tmp_path, overwrite=True)
    with pytest.raises(ValueError, match='lies in .* Use another folder'):
        place(folder, f'{tmp_path}/photo.jpg')


def test_write(tmp_path):
    folder = PictureFolder(tmp_path / 'out', '/photos')
    picture = np.zeros((20, 30, 3), np.uint8)
    options = dict(
        scores=np.array([0.2, 0.9]),
        thresholds=[0.5, 0.5],
        classes=('cat', 'dog'),
        found=np.array([1]),
    )
    paths = []
    for name in ('a.png', 'a.png.jpg', 'a.png'):
        source = Source(f'/photos/{name}', f'/photos/{name}')
        paths.append(folder.write(Item(source, picture=picture), **options))
    names = ['a.png.jpg', 'a.png.jpg.jpg', 'a.png.jpg.jpg.jpg']
    assert paths == [f'{tmp_path}/out/{name}' for name in names]
    assert all(cv2.imread(path).std() > 10 for path in paths)


def test_maps():
    sample = DataSample()
    assert found_maps(sample, np.array([1])) is None
    sample.set_field(torch.arange(12.0).view(3, 2, 2), 'attention')
    maps = found_maps(sample, np.array([2, 0]))
    assert list(maps) == [2, 0] and maps[2].tolist() == [[8, 9], [10, 11]]
    sample.set_field(torch.zeros(3, 4), 'attention')
    with pytest.raises(ValueError, match='tokens without places'):
        found_maps(sample, np.array([1]))
