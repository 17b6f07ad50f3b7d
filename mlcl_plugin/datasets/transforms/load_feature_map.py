# SPDX-License-Identifier: Apache-2.0
"""Read features of a frozen backbone for views of an image."""

import functools
import os.path as osp

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ...plain_text import brief


@functools.lru_cache(maxsize=8)
def _open(path: str) -> np.ndarray:
    """Map a file of features into memory, once per process."""
    try:
        features = np.load(path, mmap_mode='r', allow_pickle=False)
    # Damaged headers make numpy raise nearly anything.
    except Exception as error:
        text = str(error) or type(error).__name__
        raise ValueError(
            f'{path} cannot be read as an array of features: {brief(text)}. Make it '
            'with tools/extract_features.py.'
        ) from error
    if not isinstance(features, np.ndarray) or features.dtype.kind != 'f':
        got = getattr(features, 'dtype', 'several arrays')
        raise ValueError(f'{path} holds {got}, expected an array of real numbers.')
    return features


@TRANSFORMS.register_module()
class LoadFeatureMap(BaseTransform):
    """Read features of one or several views of an image from a file of arrays.

    The file is made by ``tools/extract_features.py``: an array ``(N, V, ...)`` with
    the features of V views of each of N images, in float16 or float32. The views are
    drawn at random without repeats, or are the first ones.

    **Required Keys:**

    - feature_index (int): The image's place in the file.

    **Added Keys:**

    - img (torch.Tensor | list[torch.Tensor]): Features of one view, or a list of
      those of several, as stored. ``PackInputs`` does not change them.

    Args:
        path (str): The ``.npy`` file.
        num_views (int, optional): The number of views, given as a list. Defaults to
            None: the features of one view.
        random (bool): Draw the views at random. Otherwise they are the first ones.
            Defaults to True.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file has fewer views than ``num_views``, or
            ``feature_index`` is missing or not in the file.
    """

    def __init__(
        self, path: str, num_views: int | None = None, random: bool = True
    ) -> None:
        if not osp.isfile(path):
            raise FileNotFoundError(
                f"There is no file of features '{path}'. Make it with "
                'tools/extract_features.py.'
            )
        if num_views is not None and num_views < 1:
            raise ValueError(f'num_views must be positive, got {num_views}.')
        features = _open(path)
        if features.ndim < 3 or features.shape[1] < (num_views or 1):
            raise ValueError(
                f'{path} holds an array of shape {features.shape}, expected (images, '
                f'views, channels, ...) with at least {num_views or 1} views.'
            )
        self.path = path
        self.num_views = num_views
        self.random = random

    def transform(self, results: dict) -> dict:
        """Add ``img``.

        Args:
            results (dict): Result dict of a dataset.

        Returns:
            dict: ``results`` with ``img``.
        """
        features = _open(self.path)
        index = results.get('feature_index')
        if index is None or not 0 <= index < len(features):
            raise ValueError(
                f"'feature_index' is {index}, expected a place from 0 to "
                f'{len(features) - 1} in {self.path}. Use the annotation file that '
                'tools/extract_features.py wrote beside it.'
            )
        number = self.num_views or 1
        views = np.arange(number)
        if self.random:
            views = np.random.permutation(features.shape[1])[:number]
        # Copies: torch cannot take read-only memory.
        maps = [torch.from_numpy(features[index, view].copy()) for view in views]
        results['img'] = maps[0] if self.num_views is None else maps
        return results

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(path={self.path!r}, '
            f'num_views={self.num_views}, random={self.random})'
        )
