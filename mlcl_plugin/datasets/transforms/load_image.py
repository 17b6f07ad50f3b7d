# SPDX-License-Identifier: Apache-2.0
"""Load an image, with errors that name the file and the reason."""

import logging

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS

from ...local_files import check_regular, describe_namesake, to_path
from ...runtime import MAX_PIXELS, is_truncated_jpeg, is_truncated_png
from .image_header import image_size


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image from a file, naming the file when that fails.

    For sound files the same as :class:`mmcv.transforms.LoadImageFromFile`. An
    incomplete JPEG is an error, even if the decoder accepts it. So is an image of too
    many pixels, before it is decoded: a small file may hold a huge one.

    Of an animation the first frame is read. Images are turned as their EXIF says,
    unless ``color_type='unchanged'``.

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img (np.ndarray): ``(H, W, C)``, BGR, uint8 (float32 with
      ``to_float32=True``).
    - img_shape (tuple[int, int]): ``(H, W)``.
    - ori_shape (tuple[int, int]): ``(H, W)``.

    Args:
        *args: As for :class:`mmcv.transforms.LoadImageFromFile`.
        max_pixels (int, optional): Most pixels, width times height, that an image may
            have. None sets no limit. Defaults to :data:`MAX_PIXELS`, 179 million.
        unreadable (str): What to do with files that are missing or cannot be read:
            'error', or 'skip', which lets a dataset for training take another image.
            Skipped files are named in the log. Defaults to 'error'.
        max_unreadable (int): Most files that are skipped, in each process that reads
            images; one more is an error. Defaults to 100.
        **kwargs: As for :class:`mmcv.transforms.LoadImageFromFile`. ``ignore_empty=
            True`` skips files without limit and log.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If there is no ``img_path``, or the file cannot be read, is
            empty, is not an image or is incomplete.
    """

    def __init__(
        self,
        *args,
        max_pixels: int | None = MAX_PIXELS,
        unreadable: str = 'error',
        max_unreadable: int = 100,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if max_pixels is not None and max_pixels < 1:
            raise ValueError(f'max_pixels must be 1 or more, got {max_pixels}.')
        if unreadable not in ('error', 'skip'):
            raise ValueError(
                f"unreadable must be 'error' or 'skip', got {unreadable!r}."
            )
        if max_unreadable < 0:
            raise ValueError(f'max_unreadable must be 0 or more, got {max_unreadable}.')
        self.max_pixels = max_pixels
        self.unreadable = unreadable
        self.max_unreadable = max_unreadable
        self._skipped: set[str] = set()

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']``.

        Args:
            results (dict): Result dict of a dataset.

        Returns:
            dict, optional: ``results`` with the keys listed above. None for a file
            that cannot be loaded and is skipped.
        """
        path = results.get('img_path')
        if path is None:
            raise ValueError(
                f"LoadImage needs 'img_path', got the keys {sorted(results)}."
            )
        try:
            img = self.decode(self.read_file(path), path)
        except (FileNotFoundError, ValueError) as error:
            if self.ignore_empty:
                return None
            if self.unreadable == 'skip':
                self._count_skipped(path, error)
                return None
            raise
        if self.to_float32:
            img = img.astype(np.float32)

        results['img'] = img
        results['img_shape'] = img.shape[:2]
        results['ori_shape'] = img.shape[:2]
        return results

    def _count_skipped(self, path: str, error: Exception) -> None:
        """Count and log a file that cannot be read."""
        if path in self._skipped:
            return
        self._skipped.add(path)
        number = len(self._skipped)
        if number > self.max_unreadable:
            raise ValueError(
                f'{number} images cannot be read, more than max_unreadable='
                f'{self.max_unreadable}. The log names them, the last one is: {error}'
            ) from error
        print_log(
            f'Skipped, {number} of at most {self.max_unreadable}: {error}',
            logger='current',
            level=logging.WARNING,
        )

    def read_file(self, path: str) -> bytes:
        """Read the bytes of an image file.

        Args:
            path (str): The file.

        Returns:
            bytes: Its content.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it cannot be read, or is a pipe or device.
        """
        path = to_path(path)
        if '://' not in path and self.file_client_args is None:
            check_regular(path)
        try:
            if self.file_client_args is not None:
                client = fileio.FileClient.infer_client(self.file_client_args, path)
                return client.get(path)
            return fileio.get(path, backend_args=self.backend_args)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f'There is no image file {path!r}.{describe_namesake(path)} Check '
                'data_root and data_prefix of the dataset: together with the file '
                'names of the annotation file they must lead to the images.'
            ) from error
        # ValueError for a path with a zero byte.
        except (OSError, ValueError) as error:
            raise ValueError(
                f'Cannot read the image file {path!r:.300}: {error!s:.300}'
            ) from error

    def decode(self, content: bytes, path: str) -> np.ndarray:
        """Decode the bytes of an image file.

        Args:
            content (bytes): The content of the file.
            path (str): The file, for errors.

        Returns:
            np.ndarray: The image ``(H, W, C)``.

        Raises:
            ValueError: If the file is empty, not an image or incomplete, or has more
                than ``max_pixels``.
        """
        if not content:
            raise ValueError(
                f"The image file '{path}' is empty. Fetch or extract it again."
            )
        if is_truncated_jpeg(content):
            raise ValueError(
                f"The image file '{path}' is incomplete: it has {len(content)} bytes, "
                'but no end-of-image marker of JPEG. Fetch or extract it again.'
            )
        self._check_pixels(content, path)
        if is_truncated_png(content):
            raise ValueError(
                f"The image file '{path}' is incomplete: its {len(content)} bytes end "
                'before the data of a PNG. Fetch or extract it again.'
            )
        try:
            img = mmcv.imfrombytes(
                content, flag=self.color_type, backend=self.imdecode_backend
            )
        except Exception as error:  # The decoders share no error class.
            raise ValueError(
                f"Cannot decode the image file '{path}' ({len(content)} bytes, "
                f"backend '{self.imdecode_backend}'): {error}"
            ) from error
        if img is None:
            raise ValueError(
                f"The image file '{path}' ({len(content)} bytes) is damaged or not an "
                f"image: the backend '{self.imdecode_backend}' cannot decode it. "
                'Fetch or extract it again.'
            )
        return img

    def _check_pixels(self, content: bytes, path: str) -> None:
        if self.max_pixels is None:
            return
        size = image_size(content)
        if size is not None and size[0] * size[1] > self.max_pixels:
            raise ValueError(
                f"The image file '{path}' ({len(content):,} bytes) has {size[0]:,} x "
                f'{size[1]:,} pixels, more than max_pixels={self.max_pixels}. Shrink '
                'it, or raise max_pixels if memory suffices.'
            )
