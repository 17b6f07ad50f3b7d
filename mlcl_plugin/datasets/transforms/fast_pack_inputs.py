# SPDX-License-Identifier: Apache-2.0
"""Pack images and labels, with a faster change of the layout."""

import cv2
import numpy as np
import torch
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class FastPackInputs(PackInputs):
    """MMPretrain's ``PackInputs``, with a faster change of layout.

    ``PackInputs`` turns (H, W, C) into (C, H, W) by a strided copy of torch. OpenCV is
    faster for pixels of three bytes. The results are the same.

    Args:
        *args: As for :class:`mmpretrain.datasets.PackInputs`.
        **kwargs: As for :class:`mmpretrain.datasets.PackInputs`.
    """

    @staticmethod
    def format_input(input_):
        """Turn an image or a list of views into tensors.

        Args:
            input_ (np.ndarray | list | PIL.Image.Image | torch.Tensor): An
                image ``(H, W, C)``, or views of it.

        Returns:
            torch.Tensor | list: ``(C, H, W)`` of the same type; a list for views.
        """
        if isinstance(input_, list):
            return [FastPackInputs.format_input(view) for view in input_]
        if (
            isinstance(input_, np.ndarray)
            and input_.ndim == 3
            and input_.shape[2] == 3
            and input_.dtype == np.uint8
            # OpenCV would first copy arrays in another order.
            and input_.flags.c_contiguous
        ):
            planes = np.empty((3, *input_.shape[:2]), dtype=np.uint8)
            cv2.split(input_, list(planes))
            return torch.from_numpy(planes)
        return PackInputs.format_input(input_)
