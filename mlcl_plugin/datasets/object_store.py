# SPDX-License-Identifier: Apache-2.0
"""Files of object stores, read by fsspec, which torch brings."""

import importlib.util
import posixpath
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.fileio.backends import prefix_to_backends

if TYPE_CHECKING:
    import fsspec

SCHEMES = ('s3', 'gs', 'gcs', 'az', 'abfs', 'hdfs', 'memory')
"""Schemes of URLs that fsspec reads. Each but the last needs a package of its own, such
as s3fs for ``s3://``, which the error of fsspec names."""


class ObjectStoreBackend(BaseStorageBackend):
    """Reads ``s3://BUCKET/PATH`` and its like by fsspec.

    MMEngine asks it for files of :data:`SCHEMES`, so that annotation and images may lie
    in an object store. Where and as whom to read is told by the store's own environment
    variables or files.
    """

    def get(self, filepath: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: If there is no such file.
            ImportError: If the package for the scheme is not installed.
        """
        store, path = _find(filepath)
        return store.cat_file(path)

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Read a file of text."""
        return self.get(filepath).decode(encoding)

    def join_path(self, filepath: str, *filepaths: str) -> str:
        """Join parts of a path."""
        return posixpath.join(filepath, *filepaths)

    def exists(self, filepath: str) -> bool:
        """Whether there is such a file or folder."""
        store, path = _find(filepath)
        return store.exists(path)


def _find(url: str) -> 'tuple[fsspec.AbstractFileSystem, str]':
    from fsspec.core import url_to_fs

    return url_to_fs(url)


def find_all(pattern: str) -> list[str]:
    """URLs that fit a pattern with ``*``, sorted; none if there is no such file."""
    store, path = _find(pattern)
    return sorted(map(store.unstrip_protocol, store.glob(path)))


def open_file(url: str) -> IO[bytes]:
    """Open a file for reading. It can seek, and reads ahead."""
    store, path = _find(url)
    return store.open(path, 'rb')


def size_of(url: str) -> int:
    """Size of a file in bytes."""
    store, path = _find(url)
    return int(store.size(path))


def read_range(url: str, start: int, end: int) -> bytes:
    """Read some bytes of a file by one request; fewer if the file ends before."""
    store, path = _find(url)
    return store.cat_file(path, start=start, end=end)


def state_of(url: str) -> str:
    """What changes when a file's content does, as far as the store tells."""
    store, path = _find(url)
    return store.ukey(path)


def _new_schemes() -> Sequence[str]:
    """Schemes that nothing reads yet; of MMEngine's Petrel only if it is missing."""
    petrel = importlib.util.find_spec('petrel_client') is not None
    return [
        scheme
        for scheme in SCHEMES
        if scheme not in prefix_to_backends or (scheme == 's3' and not petrel)
    ]


register_backend(
    'mlcl_object_store', ObjectStoreBackend, prefixes=_new_schemes(), force=True
)
