# SPDX-License-Identifier: Apache-2.0
"""Read features of a frozen backbone for views of an image."""

import functools
import os
import os.path as osp

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ...local_files import check_regular
from ...plain_text import brief


@functools.lru_cache(maxsize=8)
def _open(path: str, _version: tuple[int, int, int]) -> np.ndarray:
    """Map a file of features into memory, once per process and version of the file."""
    try:
        features = np.load(path, mmap_mode='r', allow_pickle=False)
    # Damaged headers make numpy raise nearly anything.
    except Exception as error:
        text = str(error) or type(error).__name__
        raise ValueError(
            f'{path} cannot be read as an array of features: {brief(text)}. Make it '
            'with mlcl_plugin.apis.extract_features.'
        ) from error
    # torch takes no extended precision and no foreign order of bytes.
    if (
        not isinstance(features, np.ndarray)
        or features.dtype not in (np.float16, np.float32, np.float64)
        or not features.dtype.isnative
    ):
        got = getattr(features, 'dtype', 'several arrays')
        raise ValueError(
            f'{path} holds {got}, expected an array of float16, float32 or float64.'
        )
    return features


@TRANSFORMS.register_module()
class LoadFeatureMap(BaseTransform):
    """Read features of one or several views of an image from a file of arrays.

    ``mlcl_plugin.apis.extract_features`` makes the file: an array ``(N, V, ...)`` with
    the features of V views of each of N images, in float16 or float32. The views are
    drawn at random without repeats, or are the first ones.

    **Required Keys:**

    - feature_index (int): The image's place in the file.
    - test_features (str): The name of the file, if ``path`` is a folder.

    **Added Keys:**

    - img (torch.Tensor | list[torch.Tensor]): Features of one view, or a list of
      those of several, as stored. ``PackInputs`` does not change them.

    Args:
        path (str): The ``.npy`` file, or the folder of the files that records name. A
            folder serves for test pipelines, which show images of several splits.
        num_views (int, optional): The number of views, given as a list. Defaults to
            None: the features of one view.
        random (bool): Draw the views at random. Otherwise they are the first ones.
            Defaults to True.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file has fewer views than ``num_views``, or
            ``feature_index`` is missing or not in the file, or ``test_features`` is
            missing.
    """

    def __init__(
        self, path: str, num_views: int | None = None, random: bool = True
    ) -> None:
        if num_views is not None and num_views < 1:
            raise ValueError(f'num_views must be positive, got {num_views}.')
        self.path = path
        self.num_views = num_views
        self.random = random
        if not osp.isdir(path):
            self._features(path)

    def _features(self, path: str) -> np.ndarray:
        """The features ``(N, V, ...)`` of a file."""
        check_regular(path)
        if not osp.isfile(path):
            raise FileNotFoundError(
                f"There is no file of features '{path}'. Make it with "
                'mlcl_plugin.apis.extract_features.'
            )
        stat = os.stat(path)
        # A file that replaces another one has other features.
        features = _open(path, (stat.st_ino, stat.st_mtime_ns, stat.st_size))
        number = self.num_views or 1
        if features.ndim < 3 or features.shape[1] < number:
            raise ValueError(
                f'{path} holds an array of shape {features.shape}, expected (images, '
                f'views, channels, ...) with at least {number} views.'
            )
        return features

    def _path(self, results: dict) -> str:
        """The file of an image."""
        if not osp.isdir(self.path):
            return self.path
        name = results.get('test_features')
        if name is None:
            raise ValueError(
                f"The record of an image lacks 'test_features', the name of its file "
                f'in {self.path}. Use the annotation file that '
                'extract_features wrote there; an old one must be made anew.'
            )
        return osp.join(self.path, name)

    def transform(self, results: dict) -> dict:
        """Add ``img``.

        Args:
            results (dict): Result dict of a dataset.

        Returns:
            dict: ``results`` with ``img``.
        """
        path = self._path(results)
        features = self._features(path)
        index = results.get('feature_index')
        if index is None or not 0 <= index < len(features):
            raise ValueError(
                f"'feature_index' is {index}, expected a place from 0 to "
                f'{len(features) - 1} in {path}. Use the annotation file that '
                'extract_features wrote beside it.'
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
