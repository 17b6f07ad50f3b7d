# SPDX-License-Identifier: Apache-2.0
"""Attention as heat over an image."""

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F

FULL_HEAT = 3.0
"""Attention, in multiples of an even spread, that is shown at full strength.

A map with more is scaled to its maximum. Without this bound a nearly even map would
show peaks.
"""
EVEN = 1.3
"""A map whose peak has less, in the same multiples, looks everywhere alike."""
STRENGTH = 0.8
"""Opacity of full heat."""
GREY = (-160, 255)
"""Values of the image that are drawn black and white: it is pale."""


def peak(attention: np.ndarray) -> float:
    """The maximum of a map ``(h, w)`` that sums to 1, in multiples of an even spread.

    Examples:
        >>> peak(np.array([[0.25, 0.25], [0.25, 0.25]]))
        1.0
    """
    return float(attention.max()) * attention.size


def heat_map(attention: np.ndarray, height: int, width: int) -> np.ndarray:
    """Compute heat from 0 to 1: none up to the attention of an even spread.

    Args:
        attention (np.ndarray): ``(h, w)``, sums to 1.
        height (int): H of the image.
        width (int): W of the image.

    Returns:
        np.ndarray: ``(H, W)`` float32, interpolated.
    """
    times_even = attention * attention.size
    heat = (times_even - 1) / (max(FULL_HEAT, float(times_even.max())) - 1)
    return F.interpolate(
        torch.as_tensor(heat.clip(min=0), dtype=torch.float32)[None, None],
        size=(height, width),
        mode='bilinear',
        align_corners=False,
    )[0, 0].numpy()


def attention_overlay(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Draw heat over an image in pale grey, as pixels.

    Args:
        image (np.ndarray): ``(H, W, 3)`` uint8, RGB.
        attention (np.ndarray): ``(h, w)``, sums to 1.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8, RGB.
    """
    black, white = GREY
    grey = (image.mean(axis=2, keepdims=True) - black) / (white - black)
    heat = heat_map(attention, *image.shape[:2])
    colours = matplotlib.colormaps['plasma'](heat)[..., :3]
    opacity = STRENGTH * heat[..., None]
    return (255 * (opacity * colours + (1 - opacity) * grey)).round().astype(np.uint8)
