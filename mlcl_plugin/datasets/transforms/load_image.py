# SPDX-License-Identifier: Apache-2.0
"""Load an image, with errors that name the file and the reason."""

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmpretrain.registry import TRANSFORMS

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', 0xDA, b'\xff\xd9'


def is_truncated_jpeg(content: bytes) -> bool:
    """Whether the bytes begin like a JPEG but lack its end-of-image marker.

    Some releases of OpenCV fill the rest of such an image with grey, without an error.
    Bytes after the marker, as cameras and editors append them, are allowed.

    Args:
        content (bytes): The content of a file.

    Returns:
        bool: True only for a JPEG whose image data does not end.
    """
    if not content.startswith(JPEG_START):
        return False
    if content.endswith(JPEG_END):
        return False
    # A thumbnail in the header has an end marker of its own, so only a marker after the
    # start of the first scan counts. In the data of a scan, 0 or a restart number
    # follows each byte 0xff.
    position = 2
    while position + 4 <= len(content):
        marker = content[position + 1]
        if content[position] != 0xFF or marker == 0xFF:
            # A stray or a fill byte: decoders skip both.
            position += 1
        elif marker == JPEG_SCAN:
            return JPEG_END not in content[position:]
        else:
            length = int.from_bytes(content[position + 2 : position + 4], 'big')
            position += 2 + length
    return True


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image from a file, naming the file when that fails.

    For sound files the same as :class:`mmcv.transforms.LoadImageFromFile`. An
    incomplete JPEG is an error, even if the decoder accepts it.

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img (np.ndarray): ``(H, W, C)``, BGR, uint8 (float32 with
      ``to_float32=True``).
    - img_shape (tuple[int, int]): ``(H, W)``.
    - ori_shape (tuple[int, int]): ``(H, W)``.

    Args:
        *args, **kwargs: As for :class:`mmcv.transforms.LoadImageFromFile`. With
            ``ignore_empty=True``, a file that cannot be loaded gives None instead of
            an error, and the dataset takes another image.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If there is no ``img_path``, or the file cannot be read, is
            empty, is not an image or is incomplete.
    """

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']``.

        Args:
            results (dict): Result dict of a dataset.

        Returns:
            dict, optional: ``results`` with the keys listed above. With
            ``ignore_empty``, None for a file that cannot be loaded.
        """
        path = results.get('img_path')
        if path is None:
            raise ValueError(
                f"LoadImage needs 'img_path', got the keys {sorted(results)}."
            )
        try:
            img = self.decode(self.read_file(path), path)
        except (FileNotFoundError, ValueError):
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            img = img.astype(np.float32)

        results['img'] = img
        results['img_shape'] = img.shape[:2]
        results['ori_shape'] = img.shape[:2]
        return results

    def read_file(self, path: str) -> bytes:
        """Read the bytes of an image file.

        Args:
            path (str): The file.

        Returns:
            bytes: Its content.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it cannot be read.
        """
        try:
            if self.file_client_args is not None:
                client = fileio.FileClient.infer_client(self.file_client_args, path)
                return client.get(path)
            return fileio.get(path, backend_args=self.backend_args)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f"There is no image file '{path}'. Check data_root and data_prefix "
                'of the dataset: together with the file names of the annotation '
                'file they must lead to the images.'
            ) from error
        except OSError as error:
            raise ValueError(f"Cannot read the image file '{path}': {error}") from error

    def decode(self, content: bytes, path: str) -> np.ndarray:
        """Decode the bytes of an image file.

        Args:
            content (bytes): The content of the file.
            path (str): The file, for errors.

        Returns:
            np.ndarray: The image ``(H, W, C)``.

        Raises:
            ValueError: If the file is empty, not an image or incomplete.
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
