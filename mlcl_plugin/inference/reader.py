# SPDX-License-Identifier: Apache-2.0
"""Read images and pass them through the test pipeline, here or in workers."""

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import Dataset

from ..datasets.transforms import LabelsToTargets
from ..datasets.transforms.load_image import LoadImage
from ..local_files import check_regular, describe_namesake, to_path
from .config import config_of_test_dataset, config_scope
from .error_text import describe_error
from .pixels import to_bgr, to_thumbnail
from .sources import Source


@dataclass
class Item:
    """An image that was read (``data``), or why it cannot be read (``error``)."""

    source: Source
    data: dict | None = None
    picture: np.ndarray | None = None
    error: str | None = None


def build_pipeline(cfg: Config, max_pixels: int | None = None) -> list[BaseTransform]:
    """Build the test pipeline of a config, without :class:`LabelsToTargets`.

    Args:
        cfg (Config): The config.
        max_pixels (int, optional): Most pixels of an image. Defaults to None: the limit
            of the pipeline's :class:`LoadImage`.

    Returns:
        list[BaseTransform]: The transforms; the first one loads the image.

    Raises:
        ValueError: If the config has no test pipeline, or it does not start with
            loading an image.
    """
    pipeline = config_of_test_dataset(cfg).get('pipeline')
    if not pipeline:
        raise ValueError(
            'The config has no test_dataloader.dataset.pipeline, which says how '
            'images are prepared for the model.'
        )
    with config_scope(cfg):
        transforms = [TRANSFORMS.build(item) for item in pipeline]
    transforms = [t for t in transforms if not isinstance(t, LabelsToTargets)]
    if not transforms or not isinstance(transforms[0], LoadImageFromFile):
        got = type(transforms[0]).__name__ if transforms else 'nothing'
        raise ValueError(
            'The test pipeline must start with LoadImage or LoadImageFromFile, got '
            f'{got}. Other data than image files cannot be used.'
        )
    transforms[0] = _limit(transforms[0], max_pixels)
    return transforms


def _limit(loader: LoadImageFromFile, max_pixels: int | None) -> LoadImageFromFile:
    """Give a loader a limit of pixels. Both read the same, but MMCV's has none."""
    if type(loader) is LoadImageFromFile:
        loader = LoadImage(
            to_float32=loader.to_float32,
            color_type=loader.color_type,
            imdecode_backend=loader.imdecode_backend,
            ignore_empty=loader.ignore_empty,
            file_client_args=loader.file_client_args,
            backend_args=loader.backend_args,
        )
    if max_pixels is not None and isinstance(loader, LoadImage):
        loader.max_pixels = max_pixels
    return loader


class Reader(Dataset):
    """Reads images and passes them through a pipeline.

    Its indices are the sources themselves: a sampler hands them out batch by batch, so
    that neither the reader nor its workers hold a list of them.

    Args:
        transforms (Sequence[BaseTransform]): See :func:`build_pipeline`.
        pictures (bool): Whether to keep a small copy of each image.
    """

    def __init__(self, transforms: Sequence[BaseTransform], pictures: bool):
        self.loader, *rest = transforms
        self.rest = Compose(rest)
        self.pictures = pictures

    def __getitem__(self, source: Source) -> Item:
        try:
            results = self._load(source.image)
            picture = to_thumbnail(results['img']) if self.pictures else None
            data = self.rest(results)
            if data is None:
                raise ValueError('The test pipeline dropped the image.')
        # Decoders and transforms share no error class, and one bad file must not stop
        # the work on all others.
        except Exception as error:
            return Item(source, error=describe_error(error))
        return Item(source, data, picture)

    def _load(self, image: str | np.ndarray) -> dict:
        """Load a file by the first transform, or do the same with pixels."""
        if isinstance(image, str):
            image = to_path(image)
            if '://' not in image and not osp.exists(image):
                raise FileNotFoundError(
                    f'There is no such file.{describe_namesake(image)}'
                )
            check_regular(image)
            results = self.loader(dict(img_path=image))
            if results is None:
                raise ValueError('The file cannot be read as an image.')
            return results
        color_type = self.loader.color_type
        if color_type != 'unchanged':
            image = to_bgr(image)
        if color_type.startswith('grayscale'):
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if self.loader.to_float32:
            image = image.astype(np.float32)
        return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


def init_worker(_: int) -> None:
    """Let each worker use one thread, as in MMEngine's runs."""
    cv2.setNumThreads(0)
