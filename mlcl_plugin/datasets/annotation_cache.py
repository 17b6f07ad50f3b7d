# SPDX-License-Identifier: Apache-2.0
"""Keep parsed annotation on disk until something that it depends on changes."""

import functools
import hashlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from mmengine import fileio
from mmengine.fileio import LocalBackend
from mmengine.logging import print_log

from ..version import __version__
from .object_store import ObjectStoreBackend, state_of

Annotation = tuple[list[dict], Sequence[int | str]]
"""One dict per image, of strings, integers and lists of them; and class names."""

# The resolution of the coarsest file systems in use.
MTIME_GRANULARITY_NS = 2_000_000_000
# Limits the memory of writing and reading, besides the annotation itself.
ITEMS_PER_LINE = 10_000


class _Header(msgspec.Struct):
    state: str
    classes: list[int | str]


class _Trailer(msgspec.Struct):
    digest: str


class AnnotationCache:
    """A folder of parsed annotation.

    Each dataset has one file. Its name is a digest of the class, the options of reading
    and the paths of the annotation files. It records its state: size and time of change
    of every annotation file, and the code that read them. If the state has changed or
    the file is broken, the annotation is read again and the file is replaced, so that
    the folder does not grow with changes.

    Files are JSON Lines with a checksum; they contain no code. They are written under
    another name and then renamed, so that several processes may share the folder.
    Annotation files that changed less than two seconds ago, the resolution of some file
    systems, are not cached. For files of an object store, what it tells of their state
    replaces size and time; for other files that are not on a local disk, a digest of
    the content.

    If the folder cannot be written, a warning is logged and the annotation is read each
    time.

    Args:
        folder (str, optional): The folder, on a local disk; it is made if it does not
            exist. None does not cache.
    """

    def __init__(self, folder: str | os.PathLike | None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()

    def fetch(
        self,
        reader: type,
        options: dict,
        files: Sequence[str],
        read: Callable[[], Annotation],
    ) -> Annotation:
        """Take annotation from the cache, or read and keep it.

        Args:
            reader (type): The class that reads.
            options (dict): All options that change what is read, as JSON can hold them.
            files (Sequence[str]): Paths of all files that are read.
            read (Callable): Reads the annotation.

        Returns:
            tuple[list[dict], Sequence[str]]: One dict per image, and the names of the
            classes.
        """
        if self.folder is None:
            return read()
        try:
            stamps = [_stamp(file) for file in files]
        except OSError:
            # Reading raises the better error.
            return read()
        if None in stamps:
            return read()
        paths = [os.path.abspath(file) if '://' not in file else file for file in files]
        name = f'{reader.__module__}.{reader.__qualname__}'
        key = _digest([name, options, paths])
        path = self.folder / f'{reader.__name__}-{key}.jsonl'
        state = _digest([__version__, _code(reader), stamps])
        found = _load(path, state)
        if found is None:
            found = read()
            _save(path, state, found)
        return found


def _save(path: Path, state: str, annotation: Annotation) -> None:
    """Write a file, or warn if that is not possible."""
    items, classes = annotation
    encode = msgspec.json.Encoder().encode
    beside = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            checksum = hashlib.blake2b(digest_size=16)
            with open(beside, 'xb') as file:

                def write(content: object) -> None:
                    line = encode(content) + b'\n'
                    checksum.update(line)
                    file.write(line)

                write(_Header(state, list(classes)))
                for start in range(0, len(items), ITEMS_PER_LINE):
                    write(items[start : start + ITEMS_PER_LINE])
                file.write(encode(_Trailer(checksum.hexdigest())) + b'\n')
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        print_log(
            f'Cannot keep annotation in {path}: {error}. It will be read again '
            'next time. Check cache_dir of the dataset.',
            logger='current',
            level=logging.WARNING,
        )


def _stamp(path: str) -> list | None:
    """What changes when a file's content does; None if that is not certain."""
    backend = fileio.get_file_backend(path, enable_singleton=True)
    if isinstance(backend, ObjectStoreBackend):
        return [state_of(path)]
    if not isinstance(backend, LocalBackend):
        return [hashlib.blake2b(backend.get(path), digest_size=16).hexdigest()]
    status = os.stat(path)
    # A second change may have the same time.
    if time.time_ns() - status.st_mtime_ns < MTIME_GRANULARITY_NS:
        return None
    return [status.st_size, status.st_mtime_ns]


def _digest(content: object) -> str:
    encoded = msgspec.json.encode(content, enc_hook=str)
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


@functools.cache
def _code(reader: type) -> str:
    """A digest of the files that define how a class reads."""
    files = set(Path(__file__).parent.glob('*.py'))
    for parent in reader.__mro__:
        if parent.__module__.partition('.')[0] not in ('mmpretrain', 'mmengine'):
            # A class may be made in a session, whose module has no file.
            module = sys.modules.get(parent.__module__)
            file = None if module is None else vars(module).get('__file__')
            files |= {Path(file)} if file else set()
    checksum = hashlib.blake2b(digest_size=16)
    for file in sorted(files):
        if file.is_file():
            checksum.update(file.read_bytes())
    return checksum.hexdigest()


def _load(path: Path, state: str) -> Annotation | None:
    """What a file holds; None if it has another state, is broken or missing."""
    checksum = hashlib.blake2b(digest_size=16)
    items, last = [], b''
    try:
        with open(path, 'rb') as file:
            first = file.readline()
            header = msgspec.json.decode(first, type=_Header)
            if header.state != state:
                return None
            checksum.update(first)
            for line in file:
                # Every line but the last one is a list of items.
                if last:
                    checksum.update(last)
                    items += msgspec.json.decode(last, type=list[dict])
                last = line
            trailer = msgspec.json.decode(last, type=_Trailer)
    # Invalid JSON and invalid UTF-8 raise ValueError.
    except (OSError, ValueError):
        return None
    if trailer.digest != checksum.hexdigest():
        return None
    return items, header.classes
