# SPDX-License-Identifier: Apache-2.0
"""Small pictures that stand in a page as data."""

import base64
from pathlib import Path

import cv2
import numpy as np

from ...datasets.transforms import LoadImage

SIDE = 240
"""Longer side in pixels."""
QUALITY = 78
MAX_PIXELS = 50_000_000
"""Most pixels of an image that is read for a small picture."""


def read_thumbnail(path: Path) -> np.ndarray | None:
    """Read a local image file and shrink it.

    Args:
        path (Path): The file. URLs are not opened.

    Returns:
        np.ndarray, optional: ``(H, W, 3)`` uint8, RGB; None if there is no such file or
        it cannot be read as an image.
    """
    if not path.is_file():
        return None
    try:
        loader = LoadImage(max_pixels=MAX_PIXELS)
        image = loader.decode(path.read_bytes(), str(path))
    except (OSError, ValueError):
        return None
    return shrink(np.ascontiguousarray(image[..., ::-1]))


def shrink(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Shrink an image ``(H, W, 3)`` to a longer side of at most ``side`` pixels."""
    scale = min(1, side / max(image.shape[:2]))
    size = [max(1, round(scale * length)) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def data_uri(image: np.ndarray) -> str:
    """Write an image ``(H, W, 3)`` uint8, RGB, as a JPEG in a ``data:`` address."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    _, content = cv2.imencode('.jpg', image[..., ::-1], options)
    return f'data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}'
