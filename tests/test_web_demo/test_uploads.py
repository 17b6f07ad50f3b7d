# SPDX-License-Identifier: Apache-2.0
import struct
import zlib

import cv2
import numpy as np
import pytest

from mlcl_plugin.web_demo.uploads import Limits, UploadError, check_upload


def write_png(path, width, height):
    """Write a PNG of one colour, without holding its pixels."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', crc)

    packer = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    data = b''.join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', data)
        + chunk(b'IEND', b'')
    )
    return path


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.jpg', b'', 'is empty'),
        ('a.jpg', bytes(3 * 2**20), r'has 3 MB; at most 2 MB are taken'),
        ('a.heic', b'some', 'Files of the kind HEIC cannot be read.*JPEG'),
    ],
)
def test_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UploadError, match=message) as error:
        check_upload(path, Limits(max_bytes=2 * 2**20))
    assert str(tmp_path) not in str(error.value)


def test_too_many_pixels(tmp_path):
    path = write_png(tmp_path / 'a.png', 200, 300)
    assert cv2.imread(str(path)).shape == (300, 200, 3)
    check_upload(path, Limits(max_pixels=60_000))
    with pytest.raises(UploadError, match='has 200 x 300 pixels'):
        check_upload(path, Limits(max_pixels=59_999))


def test_photograph_passes(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((8, 8, 3), np.uint8))
    check_upload(tmp_path / 'a.jpg', Limits())
    # Whether it is one is found when it is decoded.
    (tmp_path / 'b.jpg').write_text('no image')
    check_upload(tmp_path / 'b.jpg', Limits())


@pytest.mark.parametrize('name', ['max_bytes', 'max_pixels'])
def test_limits(name):
    with pytest.raises(ValueError, match=f'{name} must be 1 or more, got 0'):
        Limits(**{name: 0})
