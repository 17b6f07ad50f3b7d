# SPDX-License-Identifier: Apache-2.0
import re

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mlcl_plugin.inference.sources import (
    Source,
    common_folder,
    find_files,
    iterate_sources,
    select_sources,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'inner').mkdir()
    for name in ('b.PNG', 'a.png', 'inner/c.jpg', 'notes.txt'):
        (tmp_path / name).touch()
    return tmp_path


def test_files(folder):
    assert find_files(f'{folder}/notes.txt') == [f'{folder}/notes.txt']
    assert find_files(str(folder)) == [f'{folder}/a.png', f'{folder}/b.PNG']
    assert find_files(str(folder), recursive=True)[-1] == f'{folder}/inner/c.jpg'
    assert find_files(f'{folder}/*.*g') == [f'{folder}/a.png']
    # Whether a file exists is found out by who reads it.
    assert find_files('nowhere.png') == ['nowhere.png']
    assert find_files('http://host/*.png') == ['http://host/*.png']


def test_selection(folder):
    array = np.zeros((2, 2), np.uint8)
    inputs = [array, str(folder / 'inner'), folder / 'a.png']
    names = ['array 0', f'{folder}/inner/c.jpg', f'{folder}/a.png']
    selection = select_sources(inputs)
    assert [source.name for source in selection.sources] == names
    assert selection.sources[0].image is array
    assert (selection.folder, selection.total) == (str(folder), 3)
    # The folder of pictures does not depend on what is skipped.
    rest = select_sources(inputs, skip={names[0], names[2]})
    assert [source.name for source in rest.sources] == names[1:2]
    assert (rest.folder, rest.total) == (str(folder), 1)


def test_iterators_are_not_exhausted(folder):
    def inputs():
        yield folder / 'a.png'
        raise AssertionError('asked for too much')

    selection = select_sources(inputs())
    assert (selection.folder, selection.total) == ('/', None)
    assert next(iter(selection.sources)).name == f'{folder}/a.png'


@pytest.mark.parametrize(
    ('paths', 'expected'),
    [
        (['/a/b/c.png', '/a/b/d/e.png'], '/a/b'),
        (['/a/b.png', '/c/d.png'], '/'),
        (['http://host/a/b.png', '/a/b.png'], '/'),
        ([], '/'),
    ],
)
def test_common_folder(paths, expected):
    sources = [Source(path, path) for path in paths]
    sources.append(Source('array 0', np.zeros((1, 1), np.uint8)))
    assert common_folder(sources) == expected


def test_advice_for_images_of_pil(tmp_path):
    """It turns an image as its EXIF says, which reading the file does, too."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / 'a.png', exif=exif)
    image = Image.open(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='An image of PIL becomes') as error:
        list(iterate_sources([image]))
    advice = re.search(r'by (np\..*)\.$', str(error.value))[1]
    names = dict(np=np, ImageOps=ImageOps, image=image)
    array = eval(advice, names)
    np.testing.assert_array_equal(array, cv2.imread(str(tmp_path / 'a.png')))
