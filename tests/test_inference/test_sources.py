# SPDX-License-Identifier: Apache-2.0
import re

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mlcl_plugin.image_suffixes import IMAGE_SUFFIXES
from mlcl_plugin.inference.sources import (
    Source,
    common_folder,
    find_files,
    iterate_sources,
    readable_suffixes,
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


@pytest.fixture
def log(monkeypatch):
    found = []
    monkeypatch.setattr(
        'mlcl_plugin.inference.sources.print_log',
        lambda message, **_: found.append(message),
    )
    return found


def test_folder_of_mixed_photographs(tmp_path, log):
    names = ['a.jpg', 'b.avif', 'c.gif', 'd.jfif', 'e.JPE']
    others = ['F.HEIC', 'g.heic', 'h.txt', 'i.txt', 'k.txt', 'l', 'm.CR2', 'n.tar.gz']
    for name in names + others + ['.hidden.png']:
        (tmp_path / name).touch()
    assert find_files(str(tmp_path)) == [f'{tmp_path}/{name}' for name in names]
    assert log == [
        f'{tmp_path}: 5 images taken. 8 other files were passed over: 3 .txt, 2 .heic '
        '(no decoder), 1 without a suffix, 1 .cr2 (no decoder), 1 .gz.'
    ]


def test_many_other_files(tmp_path, log):
    (tmp_path / 'a.jpg').touch()
    for number in range(7):
        (tmp_path / f'a.{number}').touch()
    find_files(str(tmp_path))
    assert '7 other files were passed over: 1 .' in log[0]
    assert log[0].endswith(', 2 others.')


def test_folder_without_an_image_that_can_be_read(tmp_path):
    (tmp_path / 'a.heic').touch()
    message = (
        r'no image in the folder .* 1 other file was passed over: 1 .heic \(no dec'
    )
    with pytest.raises(ValueError, match=message):
        find_files(str(tmp_path))


def test_decoder_without_a_form(monkeypatch):
    """Whether AVIF and GIF can be decoded is found out by trying."""
    readable_suffixes.cache_clear()
    assert readable_suffixes() == IMAGE_SUFFIXES
    readable_suffixes.cache_clear()
    monkeypatch.setattr('cv2.imdecode', lambda *_: None)
    assert set(IMAGE_SUFFIXES) - set(readable_suffixes()) == {'.gif', '.avif'}
    readable_suffixes.cache_clear()


def test_urls(tmp_path):
    (tmp_path / 'a b.jpg').touch()
    url = f'file://{tmp_path}/a%20b.jpg'
    assert find_files(url) == [f'{tmp_path}/a b.jpg']
    assert find_files(f'file://{tmp_path}') == [f'{tmp_path}/a b.jpg']
    # an image that cannot be read, as any other
    assert find_files('ftp://host/a.jpg') == ['ftp://host/a.jpg']
    assert common_folder([Source('a', 'ftp://host/a.jpg'), Source('b', '/a')]) == '/'
