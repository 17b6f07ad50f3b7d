# SPDX-License-Identifier: Apache-2.0
import io
import logging
import os
import struct

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmpretrain.registry import DATASETS, TRANSFORMS
from PIL import Image, ImageOps, features

from mlcl_plugin.datasets.transforms.load_image import (
    LoadImage,
    is_truncated_jpeg,
    is_truncated_png,
)

# A header segment with an end marker in it, as a thumbnail brings one.
THUMBNAIL = b'\xff\xe1\x00\x0a' + b'Exif' + b'\xff\xd9' + b'\x00\x00'


def picture():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)


def encode(extension='.jpg', *params):
    return cv2.imencode(extension, picture(), list(params))[1].tobytes()


def jpegs():
    plain = encode()
    # The first segment after the start marker, JFIF's, ends at byte 20.
    assert plain[2:4] == b'\xff\xe0' and plain[20:21] == b'\xff'
    return {
        'plain': plain,
        'progressive': encode('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        'restarts': encode('.jpg', cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        'thumbnail': plain[:2] + THUMBNAIL + plain[2:],
        'fill byte and trailing': plain[:2] + b'\xff' + plain[2:] + b'!',
        'stray bytes and trailing': plain[:20] + b'\x01\x02' + plain[20:] + b'!',
        'trailing zeros': plain + bytes(100),
        'trailing text': plain + b'\xff\xd8 more',
        'thumbnail and trailing': plain[:2] + THUMBNAIL + plain[2:] + b'!',
    }


@pytest.fixture
def write(tmp_path):
    def _write(content, name='image.jpg'):
        path = tmp_path / name
        path.write_bytes(content)
        return {'img_path': str(path)}

    return _write


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.bmp'])
@pytest.mark.parametrize(
    'kwargs', [{}, {'to_float32': True}, {'color_type': 'grayscale'}]
)
def test_same_as_parent(write, extension, kwargs):
    results = write(encode(extension), f'image{extension}')
    transform = TRANSFORMS.build(dict(type='LoadImage', **kwargs))
    assert isinstance(transform, LoadImage)
    got = transform(dict(results))
    expected = LoadImageFromFile(**kwargs)(dict(results))
    assert got.keys() == expected.keys()
    assert got['img'].dtype == expected['img'].dtype
    np.testing.assert_array_equal(got['img'], expected['img'])
    assert got['img_shape'] == got['ori_shape'] == (48, 64)


@pytest.mark.parametrize('name', jpegs())
def test_sound_jpegs_are_accepted(write, name):
    content = jpegs()[name]
    assert not is_truncated_jpeg(content)
    assert LoadImage()(write(content))['img'].shape == (48, 64, 3)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('name', ['plain', 'progressive', 'restarts', 'thumbnail'])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.95])
def test_truncated_jpegs_are_rejected(write, name, share, backend):
    content = jpegs()[name]
    content = content[: int(share * len(content))]
    assert is_truncated_jpeg(content)
    # Also if the file was filled up with zeros to its full size.
    assert is_truncated_jpeg(content + bytes(200))
    with pytest.raises(ValueError, match=r'image\.jpg.* is incomplete'):
        LoadImage(imdecode_backend=backend)(write(content))


def test_truncated_whatever_the_decoder_makes_of_it(write, monkeypatch):
    """Some releases of OpenCV fill the missing part with grey."""
    monkeypatch.setattr('mmcv.imfrombytes', lambda *_, **__: picture())
    LoadImage()(write(encode()))
    with pytest.raises(ValueError, match='is incomplete'):
        LoadImage()(write(encode()[:-2]))


def test_other_formats_are_no_truncated_jpegs():
    for content in (encode('.png'), encode('.png')[:50], b'', b'\xff', b'text'):
        assert not is_truncated_jpeg(content)


def test_missing_file(tmp_path):
    path = str(tmp_path / 'nowhere' / 'image.jpg')
    with pytest.raises(FileNotFoundError, match=r'nowhere.image\.jpg.*data_prefix'):
        LoadImage()({'img_path': path})


def test_folder_in_the_path_is_a_file(write):
    path = write(encode())['img_path']
    with pytest.raises(FileNotFoundError, match='data_root'):
        LoadImage()({'img_path': path + '/image.jpg'})


def test_path_is_a_folder(tmp_path):
    with pytest.raises(ValueError, match='Cannot read the image file'):
        LoadImage()({'img_path': str(tmp_path)})


def test_empty_file(write):
    with pytest.raises(ValueError, match=r'image\.jpg.* is empty'):
        LoadImage()(write(b''))


@pytest.mark.parametrize(
    'content', [b'<html>404</html>', encode('.bmp')[:90]], ids=['text', 'broken']
)
@pytest.mark.parametrize(
    ('backend', 'message'),
    [('cv2', 'damaged or not an image'), ('pillow', 'Cannot decode')],
)
def test_not_an_image(write, content, backend, message):
    with pytest.raises(ValueError, match=message) as error:
        LoadImage(imdecode_backend=backend)(write(content, 'image.png'))
    assert 'image.png' in str(error.value)


def test_no_path():
    with pytest.raises(ValueError, match=r"'img_path', got the keys \['gt_label'\]"):
        LoadImage()({'gt_label': [0]})


def test_ignore_empty(write, tmp_path):
    transform = LoadImage(ignore_empty=True)
    assert transform(write(b'')) is None
    assert transform(write(encode()[:200])) is None
    assert transform({'img_path': str(tmp_path / 'none.jpg')}) is None
    assert transform(write(encode()))['img_shape'] == (48, 64)


def odd_images():
    """Images as cameras, scanners and editors write them."""
    image = Image.fromarray(picture()[..., ::-1].copy())
    other = ImageOps.invert(image)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey16 = Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257)
    alpha = image.convert('RGBA')
    alpha.putalpha(Image.linear_gradient('L').resize(image.size))
    # which of Pillow's images: form, image, options
    return {
        'exif jpeg': ('JPEG', image, dict(exif=exif)),
        'exif png': ('PNG', image, dict(exif=exif)),
        'exif tiff': ('TIFF', image, dict(exif=exif)),
        'cmyk jpeg': ('JPEG', image.convert('CMYK'), dict(quality=100)),
        'cmyk tiff': ('TIFF', image.convert('CMYK'), {}),
        'grey jpeg': ('JPEG', image.convert('L'), {}),
        '16 bits png': ('PNG', grey16, {}),
        '16 bits tiff': ('TIFF', grey16, {}),
        '1 bit': ('PNG', image.convert('1'), {}),
        'palette': ('PNG', image.convert('P'), {}),
        'transparent palette': ('PNG', image.convert('P'), dict(transparency=3)),
        'transparent': ('PNG', alpha, {}),
        'grey and transparent': ('PNG', image.convert('LA'), {}),
        'gif': ('GIF', image, {}),
        'animated gif': ('GIF', image, dict(save_all=True, append_images=[other])),
        'animated png': ('PNG', image, dict(save_all=True, append_images=[other])),
        'animated webp': (
            'WEBP',
            image,
            dict(save_all=True, append_images=[other], lossless=True),
        ),
        'pages': ('TIFF', image, dict(save_all=True, append_images=[other])),
        '1 x 1': ('PNG', image.resize((1, 1)), {}),
        '1 x 1 jpeg': ('JPEG', image.resize((1, 1)), {}),
        'avif': ('AVIF', image, dict(quality=100)),
    }


@pytest.mark.parametrize('name', odd_images())
def test_odd_images(write, name):
    """The same pixels as Pillow gives, turned, of the first frame, without alpha."""
    form, image, options = odd_images()[name]
    if form == 'AVIF' and not features.check('avif'):
        pytest.skip('Pillow cannot write AVIF')
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    got = LoadImage()(write(buffer.getvalue(), f'image.{form.lower()}'))['img']
    with Image.open(buffer) as opened:
        opened = ImageOps.exif_transpose(opened)
        if opened.mode.startswith('I;16'):
            opened = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
        # Pillow would mix transparent pixels with black in some modes.
        if 'A' in opened.mode or 'transparency' in opened.info:
            opened = opened.convert('RGBA')
        expected = np.asarray(opened.convert('RGB'))[..., ::-1]
    assert got.dtype == np.uint8 and got.shape == expected.shape
    if name.startswith('exif'):
        assert got.shape == (64, 48, 3)
    # Decoders round differently.
    tolerance = dict(cmyk=3, avif=3, exif=3, grey=3).get(name.split()[0], 1)
    difference = np.abs(got.astype(int) - expected)
    assert difference.mean() < tolerance
    if form in ('PNG', 'GIF'):
        assert difference.max() <= 1


def bomb(width, height):
    return (
        b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack('>II', width, height) + bytes(99)
    )


def test_pixels_are_counted_before_decoding(write, monkeypatch):
    """A file of 100 KB may take gigabytes."""
    calls = []
    monkeypatch.setattr(
        'mmcv.imfrombytes', lambda *_, **__: calls.append(1) or picture()
    )
    message = (
        r"image.jpg' \(123 bytes\) has 40,000 x 30,000 pixels, more than "
        'max_pixels=178956970. Shrink it, or raise max_pixels'
    )
    with pytest.raises(ValueError, match=message):
        LoadImage()(write(bomb(40_000, 30_000)))
    with pytest.raises(
        ValueError, match='has 64 x 48 pixels, more than max_pixels=3071'
    ):
        LoadImage(max_pixels=3071)(write(encode()))
    assert calls == []
    LoadImage(max_pixels=3072)(write(encode()))
    LoadImage(max_pixels=None)(write(bomb(40_000, 30_000)))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(max_pixels=0), 'max_pixels must be 1 or more, got 0'),
        (dict(unreadable='ignore'), "'error' or 'skip', got 'ignore'"),
        (dict(max_unreadable=-1), 'max_unreadable must be 0 or more'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        LoadImage(**options)


def test_what_would_block(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    with pytest.raises(ValueError, match=r"pipe.jpg' is a named pipe, expected a file"):
        LoadImage()({'img_path': str(tmp_path / 'pipe.jpg')})
    with pytest.raises(ValueError, match='is a device'):
        LoadImage()({'img_path': '/dev/zero'})


@pytest.mark.parametrize('path', ['a\0b.jpg', 'x' * 300 + '.jpg', 'x/' * 5000])
def test_paths_that_no_file_has(path):
    with pytest.raises((FileNotFoundError, ValueError), match='image file') as error:
        LoadImage()({'img_path': path})
    assert len(str(error.value)) < 12_000


def test_urls(write):
    path = write(encode(), 'a b.jpg')['img_path']
    url = 'file://' + path.replace(' ', '%20')
    assert LoadImage()({'img_path': url})['img_shape'] == (48, 64)
    with pytest.raises(ValueError, match="begins with 'ftp', which cannot be read"):
        LoadImage()({'img_path': 'ftp://host/a.jpg'})


def test_missing_file_with_a_namesake(write):
    path = write(encode(), 'a.jpg')['img_path']
    with pytest.raises(
        FileNotFoundError, match=r"There is '.*a.jpg': without blanks. Ch"
    ):
        LoadImage()({'img_path': path + ' '})


@pytest.fixture
def log(monkeypatch):
    found = []

    def record(message, logger=None, level=logging.INFO):
        assert (logger, level) == ('current', logging.WARNING)
        found.append(message)

    module = 'mlcl_plugin.datasets.transforms.load_image'
    monkeypatch.setattr(f'{module}.print_log', record)
    return found


def test_skip(write, log):
    transform = LoadImage(unreadable='skip', max_unreadable=2)
    broken, empty = write(encode()[:200], 'broken.jpg'), write(b'', 'empty.jpg')
    for _ in range(3):
        assert transform(dict(broken)) is None
        assert transform(dict(empty)) is None
    # each is named once
    assert len(log) == 2
    assert log[0].startswith("Skipped, 1 of at most 2: The image file '")
    assert "broken.jpg' is incomplete" in log[0] and "empty.jpg' is empty" in log[1]
    assert transform(write(encode()))['img_shape'] == (48, 64)
    message = r'3 images cannot be read, more than max_unreadable=2. .*: There is no'
    with pytest.raises(ValueError, match=message):
        transform({'img_path': 'none.jpg'})


def test_a_dataset_takes_another_image(tmp_path, write, log):
    rows = ''
    for i in range(6):
        write(b'' if i == 3 else encode(), f'{i}.jpg')
        rows += f'{i}.jpg,{int(i == 3)}\n'
    (tmp_path / 'a.csv').write_text(f'image,broken\n{rows}')
    config = dict(
        type='TabularMultiLabel',
        ann_file=str(tmp_path / 'a.csv'),
        data_prefix=str(tmp_path),
        pipeline=[dict(type='LoadImage', unreadable='skip'), dict(type='PackInputs')],
    )
    dataset = DATASETS.build(config)
    targets = [int(dataset[i]['data_samples'].gt_score[0]) for i in range(6)]
    assert targets == [0] * 6 and len(log) == 1
    config['pipeline'][0].pop('unreadable')
    with pytest.raises(ValueError, match="3.jpg' is empty"):
        DATASETS.build(config)[3]


@pytest.mark.parametrize('place', [33, 'IDAT'])
def test_png_with_a_chunk_longer_than_the_file(write, monkeypatch, place):
    """OpenCV would take 2 GB for it."""
    monkeypatch.setattr('mmcv.imfrombytes', lambda *_, **__: pytest.fail('decoded'))
    content = encode('.png')
    place = content.index(place.encode()) - 4 if isinstance(place, str) else place
    content = content[:place] + b'\x8f' + content[place + 1 :]
    assert is_truncated_png(content)
    with pytest.raises(ValueError, match="image.jpg' is incomplete: .* data of a PNG"):
        LoadImage()(write(content))


def test_sound_pngs():
    content = encode('.png')
    for sound in (content, content + b'more', content[:-12], encode('.jpg'), b''):
        assert not is_truncated_png(sound)
    assert is_truncated_png(content[:-20])
