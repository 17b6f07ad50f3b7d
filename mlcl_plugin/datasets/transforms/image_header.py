# SPDX-License-Identifier: Apache-2.0
"""Width and height of an image file, from its first bytes, without decoding it."""

import io
import re
import struct
import warnings

from PIL import Image

from ...runtime import JPEG_START, PNG_START, Size, jpeg_size, png_size

# Forms that decoders read by signature, and Pillow does not know.
WRITTEN_AS_TEXT = (
    re.compile(rb'#\?R[^\0]*?\n-Y (?P<h>\d+) \+X (?P<w>\d+)'),
    re.compile(rb'P7\n[^\0]*?WIDTH (?P<w>\d+)[^\0]*?HEIGHT (?P<h>\d+)'),
    re.compile(rb'P[Ff]\s+(?P<w>\d+)\s+(?P<h>\d+)'),
)
TIFF_WIDTH, TIFF_HEIGHT, TIFF_SHORT = 256, 257, 3
HEADER = 4096
FORMATS = ('BMP', 'DIB', 'GIF', 'TIFF', 'JPEG2000', 'PPM', 'SUN')


def image_size(content: bytes) -> Size | None:
    """Read width and height of an image.

    Args:
        content (bytes): The content of a file.

    Returns:
        tuple[int, int], optional: Width and height as the file stores them, before it
        is turned. None if they cannot be found.
    """
    if content.startswith(JPEG_START):
        return jpeg_size(content)
    if content.startswith(PNG_START):
        return png_size(content)
    if content[:4] == b'RIFF' and content[8:12] == b'WEBP':
        return _webp_size(content)
    if content[4:8] == b'ftyp':
        return _heif_size(content)
    if content[:4] in (b'GIF8', b'II*\0', b'MM\0*') or content[:2] == b'BM':
        size = _fixed_size(content)
        if size is not None:
            return size
    for pattern in WRITTEN_AS_TEXT:
        match = pattern.match(content[:HEADER])
        if match:
            # Numbers of thousands of digits cannot be read, nor images of this size.
            return int(match['w'][:18]), int(match['h'][:18])
    return _size_by_pillow(content)


def _webp_size(content: bytes) -> Size | None:
    kind, header = content[12:16], content[20:30]
    if len(header) < 10:
        return None
    if kind == b'VP8X':
        width, height = (int.from_bytes(header[i : i + 3], 'little') for i in (4, 7))
        return width + 1, height + 1
    if kind == b'VP8L':
        bits = int.from_bytes(header[1:5], 'little')
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack('<HH', header[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _heif_size(content: bytes) -> Size | None:
    """The largest of the sizes that AVIF and HEIC state: of image, tiles, thumbnail."""
    sizes = [
        struct.unpack('>II', content[match.end() + 4 : match.end() + 12])
        for match in re.finditer(b'ispe', content[: 16 * HEADER])
        if match.end() + 12 <= len(content)
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _fixed_size(content: bytes) -> Size | None:
    """The size of a GIF, a BMP or the first picture of a TIFF; None if cut off."""
    try:
        if content[:1] == b'G':
            return struct.unpack_from('<HH', content, 6)
        if content[:1] == b'B':
            # The header of OS/2 is shorter; a negative height is upside down.
            if struct.unpack_from('<I', content, 14)[0] == 12:
                return struct.unpack_from('<HH', content, 18)
            width, height = struct.unpack_from('<ii', content, 18)
            return abs(width), abs(height)
        order = '<' if content[:1] == b'I' else '>'
        (start,) = struct.unpack_from(f'{order}I', content, 4)
        (number,) = struct.unpack_from(f'{order}H', content, start)
        found = {}
        for entry in range(start + 2, start + 2 + 12 * number, 12):
            tag, kind = struct.unpack_from(f'{order}HH', content, entry)
            if tag in (TIFF_WIDTH, TIFF_HEIGHT):
                number_of = f'{order}H' if kind == TIFF_SHORT else f'{order}I'
                (found[tag],) = struct.unpack_from(number_of, content, entry + 8)
        return found[TIFF_WIDTH], found[TIFF_HEIGHT]
    except (struct.error, KeyError):
        return None


def _size_by_pillow(content: bytes) -> Size | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return image.size
    except Image.DecompressionBombError as error:
        numbers = re.search(r'\((\d+) pixels\)', str(error))
        return (int(numbers[1]), 1) if numbers else (2**31, 1)
    # Headers of damaged files make Pillow raise nearly anything.
    except Exception:
        return None
