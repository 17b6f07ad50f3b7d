# SPDX-License-Identifier: Apache-2.0
"""Pixels of images: as files are read, as pictures show them, as networks see them."""

from collections.abc import Mapping

import cv2
import numpy as np
import torch

PICTURE_SIZE = 640
"""Longer side, in pixels, of the image in an annotated picture."""


def to_bgr(image: np.ndarray) -> np.ndarray:
    """Convert an image array to what OpenCV reads from a file in colour.

    Args:
        image (np.ndarray): ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` in the order BGR or
            ``(H, W, 4)`` in the order BGRA, uint8 or uint16.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8, BGR.

    Raises:
        ValueError: If the array has another shape or type, or no pixels.

    Examples:
        >>> to_bgr(np.array([[7, 9]], dtype=np.uint8)).tolist()
        [[[7, 7, 7], [9, 9, 9]]]
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            'An image array must be (H, W), (H, W, 3) in the order BGR or (H, W, 4) '
            f'in the order BGRA, uint8 or uint16, got {image.shape} of '
            f'{image.dtype}. Pass several images as a list.'
        )
    if image.size == 0:
        raise ValueError(f'The image array is empty, got the shape {image.shape}.')
    if image.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])


def to_thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink a loaded image for an annotated picture.

    Args:
        image (np.ndarray): As a pipeline's loader gives it, BGR or grey, of any type.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8, RGB, its longer side at most
        :data:`PICTURE_SIZE`.
    """
    if image.dtype not in (np.uint8, np.uint16):
        image = image.clip(0, 255).astype(np.uint8)
    image = to_bgr(image)
    scale = min(1, PICTURE_SIZE / max(image.shape[:2]))
    size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1]


def to_sides_of_photograph(view: np.ndarray, meta: Mapping) -> np.ndarray:
    """Give a picture of what the network sees the sides that the photograph has there.

    A pipeline that brings images to a square squeezes them. What it has cut off stays
    off.

    Args:
        view (np.ndarray): ``(H, W, 3)``, see :func:`to_view`.
        meta (Mapping): What the pipeline says of the image: ``scale_factor``, the width
            and the height of a pixel of the photograph. Without it nothing changes.

    Returns:
        np.ndarray: ``(H', W', 3)``; the longer side is as long as before.

    Examples:
        >>> view = np.zeros((100, 100, 3), np.uint8)
        >>> to_sides_of_photograph(view, dict(scale_factor=(0.5, 0.25))).shape
        (100, 50, 3)
    """
    across, down = meta.get('scale_factor') or (1, 1)
    height, width = view.shape[0] / down, view.shape[1] / across
    scale = max(view.shape[:2]) / max(height, width)
    sides = max(1, round(scale * width)), max(1, round(scale * height))
    if sides == (view.shape[1], view.shape[0]):
        return view
    return cv2.resize(np.ascontiguousarray(view), sides, interpolation=cv2.INTER_LINEAR)


def to_view(inputs: torch.Tensor, bgr: bool) -> np.ndarray:
    """Convert what a pipeline gives for an image to a picture.

    Args:
        inputs (Tensor): ``(C, H, W)`` with 1 or 3 channels. Values that are not uint8
            are stretched to the range from 0 to 255.
        bgr (bool): Whether the channels are in the order BGR.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8, RGB.

    Examples:
        >>> to_view(torch.tensor([[[1]], [[2]], [[3]]], dtype=torch.uint8), bgr=True)
        array([[[3, 2, 1]]], dtype=uint8)
    """
    if inputs.dtype != torch.uint8:
        # The pipeline has normalized them, to a range that is not known.
        inputs = inputs.float() - inputs.min()
        inputs = (inputs * (255 / inputs.max().clamp(min=1e-6))).byte()
    image = inputs.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()
    return image[..., ::-1] if bgr else image
