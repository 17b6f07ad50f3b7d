# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmpretrain.registry import TRANSFORMS

from mlcl_plugin.datasets.transforms.load_image import LoadImage, is_truncated_jpeg

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
    'content', [b'<html>404</html>', encode('.png')[:90]], ids=['text', 'broken']
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
