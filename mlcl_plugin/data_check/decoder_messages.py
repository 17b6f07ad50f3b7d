# SPDX-License-Identifier: Apache-2.0
"""What decoders print about an image that they read in spite of damage."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from typing import IO

# Beginnings of the warnings of libjpeg that tell of wrong pixels or lost bytes.
JPEG_DAMAGE = (
    'Corrupt JPEG data',
    'Inconsistent progression sequence',
    'Invalid SOS parameters',
    'Premature end of JPEG file',
)


@contextlib.contextmanager
def printed_messages() -> Iterator[list[str]]:
    """Catch what is printed to stderr below Python, as decoders in C do.

    Python's own stderr is caught, too, so nothing else should print meanwhile.

    Yields:
        list[str]: Filled with the lines at the end.
    """
    lines: list[str] = []
    try:
        stderr = os.dup(2)
    except OSError:
        # There is no stderr to print to.
        yield lines
        return
    file = _file_of_process(os.getpid())
    os.dup2(file.fileno(), 2)
    try:
        yield lines
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        if os.lseek(file.fileno(), 0, os.SEEK_CUR):
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            lines += file.read().decode(errors='replace').splitlines()
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            os.ftruncate(file.fileno(), 0)


@functools.lru_cache(maxsize=1)
def _file_of_process(process: int) -> IO[bytes]:
    """A file to print into. A forked process needs its own, for its place in it."""
    return tempfile.TemporaryFile(buffering=0)


def find_damage(lines: list[str]) -> str | None:
    """The first line that tells of damage inside a JPEG.

    Examples:
        >>> find_damage(['Corrupt JPEG data: bad Huffman code', 'another line'])
        'Corrupt JPEG data: bad Huffman code'
    """
    return next((line.strip() for line in lines if line.startswith(JPEG_DAMAGE)), None)
