# SPDX-License-Identifier: Apache-2.0
"""Sizes of images, for forms that hold them."""

from pathlib import Path

from PIL import Image

from ...local_files import check_regular, describe_namesake
from .form import WriteOptions
from .image_labels import ImageLabels

Size = tuple[int, int]


def read_sizes(labels: ImageLabels, options: WriteOptions) -> list[Size] | None:
    """Read width and height of all images.

    Args:
        labels (ImageLabels): The images.
        options (WriteOptions): ``image_root`` is the folder of the images.

    Returns:
        list[tuple[int, int]], optional: None without ``image_root``.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If a file is no image.
    """
    if options.image_root is None:
        return None
    root, sizes = Path(options.image_root), []
    for image in labels.images:
        path = str(root / image)
        check_regular(path)
        try:
            with Image.open(path) as picture:
                sizes.append(picture.size)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'There is no image file {path!r}.{describe_namesake(path)} Check the '
                'image root: with the paths of the annotation it must lead to the '
                'images.'
            ) from error
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"Cannot read the size of the image '{root / image}': {error}"
            ) from error
    return sizes
