# SPDX-License-Identifier: Apache-2.0
"""Tell pictures of the same content, also after resizing, cropping or recompression.

A picture has a short vector, its hash. Pictures of similar vectors are then compared
patch by patch.
"""

import cv2
import numpy as np

HASH_SIDE = 8
HASH_LENGTH = HASH_SIDE**2 - 1
"""Length H of a hash."""
SIDE = 96
"""Side of the pictures that are compared patch by patch, in pixels."""
SCALES = (1.0, 1.05, 1.1, 1.15)
"""How much larger the content of one of two pictures may be, from cropping."""
MARGIN = SIDE // 8
"""What is left off each side of one picture, so that it can be moved over the other."""
FLAT = 0.5
"""Deviation of grey values, of 255, below which a picture counts as of one colour."""
EMPTY = 0.1
"""Deviation of details below which a middle is empty; of photographs it is over 0.2."""


def picture_hash(image: np.ndarray) -> np.ndarray:
    """Describe what a picture looks like from afar.

    The hash is that of pHash (Zauner, `Implementation and Benchmarking of Perceptual
    Image Hash Functions <https://www.phash.org/docs/pubs/thesis_zauner.pdf>`_, 2010):
    the lowest frequencies of the discrete cosine transform of a grey picture of 32 x 32
    pixels. Instead of one bit per frequency it keeps the signed square root, which
    tells cropped pictures from others much better.

    Args:
        image (np.ndarray): ``(H, W)`` or ``(H, W, 3)`` BGR, uint8.

    Returns:
        np.ndarray: ``(63,)`` float16 of length 1; zeros for a picture of one colour.
    """
    grey = _grey(image, 32).astype(np.float32)
    if grey.std() < FLAT:
        return np.zeros(HASH_LENGTH, dtype=np.float16)
    # The first value is the brightness.
    low = cv2.dct(grey)[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    roots = np.sign(low) * np.sqrt(np.abs(low))
    return (roots / max(float(np.linalg.norm(roots)), 1e-6)).astype(np.float16)


def flip_hashes(hashes: np.ndarray) -> np.ndarray:
    """The hashes of mirrored pictures: odd horizontal frequencies change their sign.

    Args:
        hashes (np.ndarray): ``(..., 63)``.

    Returns:
        np.ndarray: ``(..., 63)``.
    """
    signs = np.ones((HASH_SIDE, HASH_SIDE), dtype=hashes.dtype)
    signs[:, 1::2] = -1
    return hashes * signs.ravel()[1:]


def compare_pictures(first: np.ndarray, second: np.ndarray) -> float:
    """Compare the details of two pictures, one moved and scaled over the other.

    Both are made grey, of the same size, and free of their low frequencies, which many
    photographs share (sky above land). The middle of each is looked for in the other
    one, unless it is empty: that would be found anywhere.

    Args:
        first (np.ndarray): ``(H, W)`` or ``(H, W, 3)``, uint8.
        second (np.ndarray): ``(H', W')`` or ``(H', W', 3)``, uint8.

    Returns:
        float: The correlation at the best place, 1 for the same picture; 0 if both
        middles are empty.
    """
    details = [_details(_grey(image, SIDE)) for image in (first, second)]
    best = 0.0
    for part, whole in (details, details[::-1]):
        middle = part[MARGIN : SIDE - MARGIN, MARGIN : SIDE - MARGIN]
        if middle.std() < EMPTY:
            continue
        for scale in SCALES:
            side = round(scale * len(middle))
            patch = cv2.resize(middle, (side, side), interpolation=cv2.INTER_LINEAR)
            values = cv2.matchTemplate(whole, patch, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(values.max()))
    return best


def _grey(image: np.ndarray, side: int) -> np.ndarray:
    """A grey picture ``(side, side)``, uint8."""
    small = cv2.resize(
        np.ascontiguousarray(image), (side, side), interpolation=cv2.INTER_AREA
    )
    if small.ndim == 3:
        small = cv2.cvtColor(small[..., :3], cv2.COLOR_BGR2GRAY)
    return small


def _details(grey: np.ndarray) -> np.ndarray:
    """High frequencies, divided by their local size."""
    high = grey.astype(np.float32)
    high -= cv2.GaussianBlur(high, (0, 0), 3)
    # 4 of 255 grey values: less is noise.
    return high / (np.sqrt(cv2.GaussianBlur(high * high, (0, 0), 3)) + 4)
