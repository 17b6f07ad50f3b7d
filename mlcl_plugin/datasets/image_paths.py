# SPDX-License-Identifier: Apache-2.0
"""Where the images of an annotation are, which must not lead out of their folder."""

import os.path as osp
import posixpath

from mmengine import fileio
from mmengine.fileio import HTTPBackend

from ..local_files import to_path
from ..plain_text import brief


class ImagePaths:
    """Joins the folder of the images and the paths that an annotation names.

    Args:
        folder (str): The folder of the images; '' lets paths lead anywhere.
        allow_outside (bool): Whether paths may lead out of the folder: absolute ones,
            and those with ``..``.
        where (str): The annotation, for errors.
    """

    def __init__(self, folder: str, allow_outside: bool, where: str) -> None:
        self.folder = folder
        self.free = allow_outside or not folder
        self.where = where
        self._backend = fileio.get_file_backend(folder, enable_singleton=True)

    def join(self, name: str) -> str:
        """Join the folder and the path of an image.

        Raises:
            ValueError: If the path leads out of the folder and may not.
        """
        if '://' in name:
            name = to_path(name)
        if not self.free and self._leads_out(name):
            raise ValueError(
                f'{self.where}: the path of an image, {brief(name)}, leads out of the '
                f"images' folder {self.folder!r}. Correct data_prefix, or set "
                'allow_outside=True if that is meant.'
            )
        # MMEngine's backend of web servers cannot join paths.
        if isinstance(self._backend, HTTPBackend):
            return posixpath.join(self.folder, name)
        return self._backend.join_path(self.folder, name)

    def _leads_out(self, name: str) -> bool:
        # Most names are neither, and need no more than this.
        if name[:1] != '/' and '..' not in name and '://' not in name:
            return False
        if '://' in name or '://' in self.folder:
            root = posixpath.normpath(self.folder)
            path = name
            if '://' not in name:
                path = posixpath.normpath(posixpath.join(root, name))
            return not path.startswith(f'{root}/') and not path.startswith(self.folder)
        root = osp.abspath(self.folder)
        return osp.commonpath([root, osp.abspath(osp.join(root, name))]) != root
