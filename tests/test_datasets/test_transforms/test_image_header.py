# SPDX-License-Identifier: Apache-2.0
import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from mlcl_plugin.datasets.transforms.image_header import image_size

FORMS = ['JPEG', 'PNG', 'GIF', 'BMP', 'PPM', 'TIFF', 'WEBP', 'JPEG2000', 'AVIF']
FORMS = [f for f in FORMS if f != 'AVIF' or features.check('avif')]


def encode(form, mode='RGB', size=(31, 17), **options):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('size', [(31, 17), (1, 1), (300, 2), (1000, 700)])
def test_size(form, size):
    assert image_size(encode(form, size=size)) == size


@pytest.mark.parametrize(
    ('form', 'mode', 'options'),
    [
        ('JPEG', 'CMYK', {}),
        ('JPEG', 'L', dict(progressive=True)),
        ('JPEG', 'RGB', dict(comment=b'\xff\xc0' * 20)),
        ('WEBP', 'RGB', dict(lossless=True)),
        ('WEBP', 'RGBA', {}),
        ('WEBP', 'RGB', dict(save_all=True, append_images=[Image.new('L', (31, 17))])),
        ('TIFF', 'I;16', {}),
        ('TIFF', 'RGB', dict(big_tiff=True)),
        ('TIFF', 'RGB', dict(compression='tiff_lzw')),
        ('GIF', 'P', dict(save_all=True, append_images=[Image.new('L', (31, 17))])),
        ('PPM', 'L', {}),
    ],
)
def test_variants(form, mode, options):
    assert image_size(encode(form, mode, **options)) == (31, 17)


@pytest.mark.parametrize(
    ('content', 'size'),
    [
        (b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 5\nabc', (5, 4)),
        (b'P7\nWIDTH 5\nHEIGHT 4\nDEPTH 3\nMAXVAL 255\nENDHDR\n', (5, 4)),
        (b'PF\n5 4\n-1.0\n', (5, 4)),
        (b'BM' + bytes(12) + struct.pack('<Iii', 40, 5, -4), (5, 4)),
        (b'BM' + bytes(12) + struct.pack('<IHH', 12, 5, 4), (5, 4)),
        (
            b'MM\0*' + struct.pack('>IHHHIIHHII', 8, 2, 256, 4, 1, 5, 257, 4, 1, 4),
            (5, 4),
        ),
        # stray and fill bytes before a marker
        (b'\xff\xd8ab\xff\xff\xc2\0\x11\x08' + struct.pack('>HH', 4, 5), (5, 4)),
    ],
)
def test_headers(content, size):
    assert image_size(content) == size


@pytest.mark.parametrize(
    'content',
    [b'', b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'text', b'GIF89a', b'RIFF', b'BM'],
)
def test_no_size(content):
    assert image_size(content) is None


@pytest.mark.parametrize(
    'content',
    [
        struct.pack('>8s8sII', b'\x89PNG\r\n\x1a\n', b'', 60_000, 60_000),
        b'P6 60000 60000 255\n',
        b'P7\nWIDTH ' + b'9' * 3000 + b'\nHEIGHT 1\n',
    ],
)
def test_huge(content):
    width, height = image_size(content)
    assert width * height > 179_000_000


def test_megabytes_of_stray_bytes():
    """Skipped at once: time would grow to minutes."""
    assert image_size(b'\xff\xd8' + bytes(50_000_000)) is None
    assert image_size(b'\xff\xd8' + b'\xff\x00' * 500_000) is None


@settings(max_examples=300)
@given(form=st.sampled_from(FORMS), cut=st.floats(0, 1), junk=st.binary(max_size=40))
def test_broken_headers(form, cut, junk):
    content = encode(form)
    place = int(cut * min(len(content), 200))
    for broken in (content[:place], content[:place] + junk + content[place:]):
        size = image_size(broken)
        assert size is None or all(isinstance(side, int) for side in size)
