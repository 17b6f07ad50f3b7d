# SPDX-License-Identifier: Apache-2.0
"""A folder of annotated pictures."""

import hashlib
import os
import os.path as osp
import warnings
from collections.abc import Callable, Mapping, Sequence
from os import PathLike

import numpy as np
from mmpretrain.structures import DataSample

from .reader import Item
from .sources import Source, absolute_path

MAX_NAME = 255
"""Bytes of a file's name on common file systems."""


def found_maps(sample: DataSample, found: np.ndarray) -> dict[int, np.ndarray] | None:
    """Attention maps ``(h, w)`` of the labels found; None if there is no attention.

    Raises:
        ValueError: If it is attention to tokens without places.
    """
    if 'attention' not in sample:
        return None
    if sample.attention.ndim != 3:
        raise ValueError(
            'Attention to tokens without places cannot be drawn. Let the backbone '
            "return a feature map (for a ViT: out_type='featmap'), or leave out "
            'pictures or attention.'
        )
    return {int(index): sample.attention[index].numpy() for index in found}


class PictureFolder:
    """Writes annotated pictures to a folder, in subfolders as those of the images.

    Args:
        folder (str | PathLike): The folder of the pictures.
        root (str): The folder of the images, whose subfolders are kept.
        overwrite (bool): Whether the folder may contain something.
            Defaults to False.
        max_labels (int): The greatest number of labels on a picture. Defaults to 10.

    Raises:
        ImportError: If matplotlib is not installed.
        FileExistsError: If the folder contains something and ``overwrite`` is False.
    """

    def __init__(
        self,
        folder: str | PathLike,
        root: str = '/',
        overwrite: bool = False,
        max_labels: int = 10,
    ):
        self.out_dir = os.fspath(folder)
        self.folder = osp.abspath(folder)
        self.root = root
        self.max_labels = max_labels
        self.written: set[str] = set()
        # Imported here, since nothing else in the inferencer needs matplotlib.
        try:
            from ..visualization.label_scores import label_scores_picture
        except ImportError as error:
            raise ImportError(
                'Annotated pictures need matplotlib: run `pip install matplotlib`.'
            ) from error
        self._draw: Callable = label_scores_picture
        if not overwrite and osp.isdir(folder) and os.listdir(folder):
            raise FileExistsError(
                f'The folder {self.out_dir} for pictures is not empty. Use another '
                'one, or set overwrite=True.'
            )

    def path(self, source: Source) -> str:
        """Where the picture of an image goes.

        Raises:
            ValueError: If the image itself lies in the folder of the pictures.
        """
        if not isinstance(source.image, str) or source.image == '':
            return osp.join(self.out_dir, f'{source.name}.jpg')
        path = absolute_path(source.image)
        if path.startswith(osp.join(self.folder, '')):
            raise ValueError(
                f'The image {source.image} lies in {self.out_dir}, the folder for '
                'pictures, so that pictures could replace images. Use another folder.'
            )
        if path.startswith(osp.join(self.root, '')):
            path = path[len(osp.join(self.root, '')) :]
        # The suffix stays, because photo.png and photo.webp are two images.
        name = path if path.endswith('.jpg') else f'{path}.jpg'
        # Normalized from the root on, so that no `..` of a URL leaves the folder.
        name = osp.normpath(f'/{osp.splitdrive(name)[1]}'.replace('://', '/'))
        subfolder, name = osp.split(name)
        encoded = os.fsencode(name)
        # A name with .jpg at its end may be too long for a file.
        if len(encoded) > MAX_NAME:
            digest = hashlib.sha256(encoded).hexdigest()[:8]
            name = encoded[: MAX_NAME - 20].decode('utf-8', 'ignore') + f'-{digest}.jpg'
        return osp.join(self.out_dir, subfolder.lstrip('/\\'), name)

    def write(
        self,
        item: Item,
        *,
        scores: np.ndarray,
        thresholds: Sequence[float] | np.ndarray,
        classes: Sequence[str],
        found: np.ndarray,
        view: np.ndarray | None = None,
        attention: Mapping[int, np.ndarray] | None = None,
    ) -> str:
        """Draw and write the picture of an image.

        Args:
            item (Item): The image, read with its small copy.
            scores (np.ndarray): ``(L,)`` from 0 to 1.
            thresholds (Sequence[float] | np.ndarray): ``(L,)``.
            classes (Sequence[str]): L names.
            found (np.ndarray): Indices of the labels found.
            view (np.ndarray, optional): The image as the network sees it, ``(H, W, 3)``
                uint8, RGB. Defaults to None.
            attention (Mapping[int, np.ndarray], optional): See :func:`found_maps`.
                Defaults to None.

        Returns:
            str: The path of the picture.
        """
        path = self.path(item.source)
        # photo.png and photo.png.jpg, or an image that is given twice.
        while path in self.written:
            path += '.jpg'
        self.written.add(path)
        os.makedirs(osp.dirname(path), exist_ok=True)
        mask = np.zeros(len(classes), dtype=bool)
        mask[found] = True
        figure = self._draw(
            item.picture,
            scores=scores,
            thresholds=thresholds,
            classes=classes,
            found=mask,
            view=view,
            attention=attention,
            max_labels=self.max_labels,
            # The name of a file may contain bytes that are not text.
            title=osp.basename(item.source.name).encode('utf-8', 'replace').decode(),
        )
        with warnings.catch_warnings():
            # Fonts lack the letters of some languages. The results have the names.
            warnings.filterwarnings('ignore', message='Glyph .* missing')
            figure.savefig(path, format='jpg', pil_kwargs=dict(quality=90))
        return path
