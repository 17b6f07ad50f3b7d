# SPDX-License-Identifier: Apache-2.0
"""Files of features, whose writing can be interrupted and continued."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
from mmengine.dist import barrier, broadcast_object_list, is_main_process

from ...datasets.annotation_files import decode_json
from ...errors import SaveError
from ..durable_files import PART, publish, write_text


class FeatureFile:
    """The features of a split: ``NAME.npy``, and ``NAME.json`` once it is complete.

    While it is written, ``NAME.npy.part`` has the features, ``NAME.done`` a byte per
    image that is 1 where its features are there, and ``NAME.part.json`` the settings
    that they are made with.

    Args:
        folder (Path): Where the files are.
        name (str): The name of the split.
        settings (dict): What the features are made of, as JSON gives it back.
    """

    def __init__(self, folder: Path, name: str, settings: dict):
        self.path = folder / f'{name}.npy'
        self.settings = settings
        self._part = folder / f'{name}.npy{PART}'
        self._done_path = folder / f'{name}.done'
        self._part_json = folder / f'{name}.part.json'
        self._json = folder / f'{name}.json'
        self._features: np.memmap | None = None
        self._done: np.memmap | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all features exist.

        Raises:
            ValueError: If they were made with other settings.
        """
        if not (self._json.exists() and self.path.exists()):
            return False
        found = _read_settings(self._json)
        other = sorted(
            key for key, value in self.settings.items() if found.get(key) != value
        )
        if other:
            raise ValueError(
                f'The features of {self._json} were made with another '
                f'{", ".join(other)}: '
                + '; '.join(
                    f'got {found.get(key)}, expected {self.settings[key]}'
                    for key in other
                )
                + '. Delete the folder, or use another one.'
            )
        return True

    @property
    def was_begun(self) -> bool:
        """Whether there are features of these settings, perhaps not yet all."""
        for path in (self._json, self._part_json):
            try:
                return _read_settings(path) == self.settings
            except (OSError, ValueError):
                continue
        return False

    def open(self, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """Make the files, or open those of a call that was interrupted.

        All processes of a run call it together.

        Args:
            number (int): Number of images N.
            shape (tuple[int, ...]): Shape of the features of an image, ``(V, ...)``.

        Returns:
            np.ndarray: ``(N,)``, True for images whose features are there.

        Raises:
            SaveError: If there is not enough space for all of them.
        """
        shape = (number, *shape)
        problem: list[OSError | None] = [None]
        if is_main_process():
            try:
                if not self._is_begun(shape):
                    self._create(shape)
            except OSError as error:
                problem = [error]
        broadcast_object_list(problem)
        if problem[0] is not None:
            raise problem[0]
        self._features = np.load(self._part, mmap_mode='r+')
        self._done = np.memmap(self._done_path, np.uint8, 'r+')
        return np.asarray(self._done) != 0

    def write(self, images: np.ndarray, view: int, features: np.ndarray) -> None:
        """Write the features of a view of some images, :meth:`open` first."""
        if self._features is None:
            raise RuntimeError(f'{self.path} is not open: call open() before write().')
        self._features[images, view] = features

    def mark(self, images: np.ndarray) -> None:
        """Remember that the features of some images are there."""
        if self._features is None or self._done is None:
            raise RuntimeError(f'{self.path} is not open: call open() before mark().')
        # Features reach the disk before the mark that says so.
        self._features.flush()
        self._done[images] = 1
        self._done.flush()

    def close(self, content: dict) -> None:
        """Give the complete file its name; all processes of a run call it together.

        Args:
            content (dict): Annotation of the images, in the form of MMPretrain's
                ``MultiLabelDataset``.
        """
        self._features = self._done = None
        # All processes have written their share.
        barrier()
        if is_main_process():
            publish(self._part, self.path)
            # Written last, because it says that the features are complete.
            write_text(self._json, json.dumps(dict(content, settings=self.settings)))
            self._done_path.unlink(missing_ok=True)
            self._part_json.unlink(missing_ok=True)
        barrier()

    def _is_begun(self, shape: tuple[int, ...]) -> bool:
        """Whether an interrupted call left files of these features."""
        try:
            begun = _read_settings(self._part_json) == self.settings
            return (
                begun
                and np.load(self._part, mmap_mode='r').shape == shape
                and self._done_path.stat().st_size == shape[0]
            )
        except (OSError, ValueError):
            return False

    def _create(self, shape: tuple[int, ...]) -> None:
        for path in (self._part_json, self._part, self._done_path):
            path.unlink(missing_ok=True)
        size = int(np.prod(shape)) * np.dtype(np.float16).itemsize
        free = shutil.disk_usage(self.path.parent).free
        try:
            if size > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            features = np.lib.format.open_memmap(
                self._part, mode='w+', dtype=np.float16, shape=shape
            )
            del features
            _reserve(self._part)
            self._done_path.write_bytes(bytes(shape[0]))
            write_text(self._part_json, json.dumps(dict(settings=self.settings)))
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise SaveError(
                error.errno,
                f'Cannot write the features {self.path}: {error.strerror or error}. '
                f'They take {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free. '
                'Make room, use another folder or a smaller num_views',
            ) from error


def _read_settings(path: Path) -> dict:
    content = decode_json(path.read_bytes(), str(path))
    found = content.get('settings') if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise ValueError(
            f'{path} does not say how its features were made. Delete the folder, or '
            'use another one.'
        )
    # Features of older versions do not say it.
    found.setdefault('engine', 'torch')
    return found


def _reserve(path: Path) -> None:
    """Let the disk give a file its space, since writing to a map cannot fail.

    Without space the process would be killed by a signal.
    """
    if hasattr(os, 'posix_fallocate'):
        with path.open('r+b') as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
