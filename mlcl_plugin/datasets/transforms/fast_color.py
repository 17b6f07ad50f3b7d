# SPDX-License-Identifier: Apache-2.0
"""Augmentations that map pixel values, by a table of all 256 values.

MMPretrain computes such a mapping for every pixel, in float32 or 64-bit integers. A
table for the values 0 to 255 gives the same image in less time. The transforms here
take the arguments of those they are named after and draw the same random numbers. They
leave images other than (H, W, 3) of uint8 to them.
"""

import cv2
import mmcv
import numpy as np
from mmpretrain.datasets import (
    AutoContrast,
    Brightness,
    Contrast,
    Equalize,
    Solarize,
)
from mmpretrain.registry import TRANSFORMS

# An image of one column that has every value once.
VALUES = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
VALUES.flags.writeable = False


def suits_table(img: np.ndarray) -> bool:
    """Whether an image has three channels of uint8.

    Args:
        img (np.ndarray): An image.

    Returns:
        bool: True for ``(H, W, 3)`` of uint8.
    """
    return img.dtype == np.uint8 and img.ndim == 3 and img.shape[2] == 3


class ByTable:
    """Mixin that looks up the pixels' new values in a table.

    Another parent, after this one, is the transform of MMPretrain to speed up.
    """

    def transform(self, results: dict) -> dict:
        """Map the values of the image.

        Args:
            results (dict): Result dict with ``img``.

        Returns:
            dict: ``results`` with another ``img``.
        """
        img = results['img']
        if not suits_table(img):
            return super().transform(results)  # type: ignore[misc]
        table = self.table(img)
        if table is not None:
            results['img'] = cv2.LUT(img, table)
        return results

    def table(self, img: np.ndarray) -> np.ndarray | None:
        """The new value of each of the 256 values.

        By default, the parent maps them. This suits parents that treat all pixels and
        channels alike.

        Args:
            img (np.ndarray): ``(H, W, 3)`` uint8.

        Returns:
            np.ndarray | None: ``(256, 1)`` uint8, ``(256, 1, 3)`` if the channels
            differ. None leaves the image as it is.
        """
        table = self.apply_to(VALUES)
        return None if table is None else np.ascontiguousarray(table[..., 0])

    def apply_to(self, values: np.ndarray) -> np.ndarray | None:
        """Apply the parent to an image; None if it leaves the image as it is."""
        changed = super().transform(dict(img=values))['img']  # type: ignore[misc]
        return None if changed is values else changed


@TRANSFORMS.register_module()
class FastBrightness(ByTable, Brightness):
    """MMPretrain's ``Brightness``, by a table."""


@TRANSFORMS.register_module()
class FastSolarize(ByTable, Solarize):
    """MMPretrain's ``Solarize``, by a table."""


@TRANSFORMS.register_module()
class FastContrast(ByTable, Contrast):
    """MMPretrain's ``Contrast``, by a table."""

    def table(self, img: np.ndarray) -> np.ndarray | None:
        """Blend each value with the image's mean grey."""
        if self.random_disable():
            return None
        magnitude = self.magnitude
        if magnitude is None:
            magnitude = self.random_magnitude()
        factor = 1 + self.random_negative(magnitude)

        gray = mmcv.bgr2gray(img)
        mean = round(cv2.sumElems(gray)[0] / gray.size)
        values = VALUES[..., 0].astype(np.float32)
        table = cv2.addWeighted(
            values, factor, np.full_like(values, mean), 1 - factor, 0
        )
        return table.clip(0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class FastAutoContrast(ByTable, AutoContrast):
    """MMPretrain's ``AutoContrast``, by a table."""

    def table(self, img: np.ndarray) -> np.ndarray | None:
        """Stretch each channel to the full range."""
        ranges = [cv2.minMaxLoc(channel)[:2] for channel in cv2.split(img)]
        # Only the smallest and largest value of a channel matter, and this column has
        # those of the image.
        return self.apply_to(VALUES.clip(*np.array(ranges, dtype=np.uint8).T))


@TRANSFORMS.register_module()
class FastEqualize(ByTable, Equalize):
    """MMPretrain's ``Equalize``, by a table."""

    def table(self, img: np.ndarray) -> np.ndarray | None:
        """Spread the values of each channel evenly."""
        if self.random_disable():
            return None
        columns = [self._column(img, channel) for channel in range(3)]
        return np.stack(columns, axis=-1)[:, None]

    @staticmethod
    def _column(img: np.ndarray, channel: int) -> np.ndarray:
        """The new values ``(256,)`` of one channel."""
        counts = cv2.calcHist([img], [channel], None, [256], [0, 256])
        counts = counts.ravel().astype(np.int64)
        # Pillow leaves the largest value out of the step.
        step = (counts.sum() - counts[counts.nonzero()[0][-1]]) // 255
        if step == 0:
            return VALUES[:, 0, channel]
        smaller = counts.cumsum() - counts
        return ((smaller + step // 2) // step).clip(max=255).astype(np.uint8)
