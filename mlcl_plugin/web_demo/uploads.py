# SPDX-License-Identifier: Apache-2.0
"""Refuse files that are no photographs, or too large, before they are decoded."""

from dataclasses import dataclass
from pathlib import Path

from ..datasets.transforms.image_header import image_size
from ..image_suffixes import OTHER_IMAGES

MEGABYTE = 2**20
KINDS = 'JPEG, PNG, WebP, TIFF or BMP'
UNREADABLE = (
    'This file cannot be read as a photograph: it is damaged, incomplete or of another '
    f'kind. Files that can be read are {KINDS}.'
)


class UploadError(ValueError):
    """A file that cannot be used. The message is for the page and names no path."""


@dataclass(frozen=True)
class Limits:
    """How large a file may be.

    Attributes:
        max_bytes (int): Size of the file. Defaults to 20 megabytes of 2**20.
        max_pixels (int): Width times height. Defaults to 50 million, a third of what
            the package itself reads: several people may use the page.
    """

    max_bytes: int = 20 * MEGABYTE
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        for name in ('max_bytes', 'max_pixels'):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f'{name} must be 1 or more, got {value}.')


def check_upload(path: Path, limits: Limits) -> None:
    """Check a file without decoding it.

    Args:
        path (Path): The file.
        limits (Limits): How large it may be.

    Raises:
        UploadError: If it is empty, too large, or of a kind without a decoder.
    """
    size = path.stat().st_size
    if size == 0:
        raise UploadError('This file is empty. Choose another one.')
    if size > limits.max_bytes:
        raise UploadError(
            f'This file has {size / MEGABYTE:,.4g} MB; at most '
            f'{limits.max_bytes / MEGABYTE:,.4g} MB are taken. Make the photograph '
            'smaller, or save it as JPEG.'
        )
    suffix = path.suffix.lower()
    if suffix in OTHER_IMAGES:
        raise UploadError(
            f'Files of the kind {suffix[1:].upper()} cannot be read. Save the '
            f'photograph as {KINDS}.'
        )
    sides = image_size(path.read_bytes())
    if sides is not None and sides[0] * sides[1] > limits.max_pixels:
        raise UploadError(
            f'This picture has {sides[0]:,} x {sides[1]:,} pixels, '
            f'{sides[0] * sides[1] / 1e6:,.4g} million; at most '
            f'{limits.max_pixels / 1e6:,.4g} million are taken. Make it smaller.'
        )
