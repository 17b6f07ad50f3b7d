# SPDX-License-Identifier: Apache-2.0
"""Which images the inputs stand for: files, folders, patterns, arrays."""

import base64
import functools
import glob
import logging
import os
import os.path as osp
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from os import PathLike
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.fileio import get_file_backend
from mmengine.logging import print_log

from ..image_suffixes import IMAGE_SUFFIXES, OTHER_IMAGES
from ..local_files import to_path
from ..plain_text import printable

# Images of one pixel, to find out what the decoder can read.
SAMPLES = {
    '.gif': ('R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=='),
    '.avif': (
        'AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscg'
        'AAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQA'
        'AAEAAQAAAAEAAAETAAAAJAAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2'
        'xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAAQAAAAEAAAAQcGl4aQAAAAAD'
        'CAgIAAAADGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQ'
        'QBAoMEAAAALG1kYXQSAAoIGAAGiAhoNCAyFh7Hh4VZ3///4sAAAJA1jjxwI2s71Io='
    ),
}
MAX_SUFFIXES = 5

Input = str | PathLike | np.ndarray
Inputs = Input | Iterable[Input]


class Source(NamedTuple):
    """An image that is not read yet: its name in the results, and its path or pixels.

    A worker process that has read the pixels returns an empty path instead of them.
    """

    name: str
    image: str | np.ndarray


class Selection(NamedTuple):
    """The images to read.

    ``folder`` is the deepest folder that contains all files of the inputs, also the
    skipped ones; ``'/'`` if it is not known. ``total`` is the number of images, None if
    it is not known: an iterator is asked for its items one by one.
    """

    sources: Iterable[Source]
    folder: str
    total: int | None


def select_sources(
    inputs: Inputs, recursive: bool = False, skip: Container[str] = frozenset()
) -> Selection:
    """Find the images that the inputs stand for, without those to skip.

    Args:
        inputs (str | PathLike | np.ndarray | Iterable): See
            :meth:`MultiLabelInferencer.stream`.
        recursive (bool): Whether to take what is in the folders inside of a folder.
            Defaults to False.
        skip (Container[str]): Names of images to leave out. Defaults to none.

    Returns:
        Selection: The images in the order of the inputs.

    Raises:
        ValueError: If an input is neither a path nor an array, a folder has no image or
            no file matches a pattern. For an iterator the error comes when its images
            are asked for.
    """
    if isinstance(inputs, Iterator):
        lazy = (s for s in iterate_sources(inputs, recursive) if s.name not in skip)
        return Selection(lazy, '/', None)
    all_sources = list(iterate_sources(inputs, recursive))
    chosen = [source for source in all_sources if source.name not in skip]
    return Selection(chosen, common_folder(all_sources), len(chosen))


def iterate_sources(inputs: Inputs, recursive: bool = False) -> Iterator[Source]:
    """Give the images that the inputs stand for, one after the other."""
    if isinstance(inputs, str | PathLike | np.ndarray) or not isinstance(
        inputs, Iterable
    ):
        inputs = [inputs]
    number = 0
    for entry in inputs:
        if isinstance(entry, np.ndarray):
            yield Source(f'array {number}', entry)
            number += 1
        elif isinstance(entry, str | PathLike):
            for path in find_files(os.fspath(entry), recursive):
                yield Source(path, path)
                number += 1
        else:
            raise ValueError(
                'Inputs must be paths or numpy arrays, got '
                f'{type(entry).__name__}. An image of PIL becomes an array by '
                "np.asarray(ImageOps.exif_transpose(image).convert('RGB'))[..., ::-1]."
            )


def find_files(path: str, recursive: bool = False) -> list[str]:
    """Find the files that a path or a pattern stands for.

    Args:
        path (str): The path of a file or a folder, or a glob pattern.
        recursive (bool): See :func:`select_sources`. Defaults to False.

    Returns:
        list[str]: Paths, sorted.

    Raises:
        ValueError: If the folder has no image or no file matches the pattern.
    """
    try:
        path = to_path(path)
    except ValueError:
        # Reading it gives the error, as the error of one image.
        return [path]
    backend = get_file_backend(path)
    # MMEngine's backends of web servers cannot list folders.
    if hasattr(backend, 'isdir') and backend.isdir(path):
        names = backend.list_dir_or_file(path, list_dir=False, recursive=recursive)
        suffixes, paths = readable_suffixes(), []
        others: Counter[str] = Counter()
        for name in names:
            if name.lower().endswith(suffixes):
                paths.append(backend.join_path(path, name))
            else:
                others[osp.splitext(name)[1].lower()] += 1
        passed_over = _describe_passed_over(others)
        if not paths:
            hint = '' if recursive else ' Folders inside of it need recursive=True.'
            raise ValueError(
                f'There is no image in the folder {path} (suffixes '
                f'{", ".join(suffixes)}).{passed_over}{hint}'
            )
        if passed_over:
            print_log(
                f'{path}: {len(paths):,} images taken.{passed_over}',
                logger='current',
                level=logging.WARNING,
            )
        return sorted(paths)
    # The name of a file may look like a pattern.
    if glob.has_magic(path) and '://' not in path and not osp.exists(path):
        paths = sorted(
            name for name in glob.iglob(path, recursive=recursive) if osp.isfile(name)
        )
        if not paths:
            raise ValueError(f'No file matches the pattern {path}.')
        return paths
    return [path]


@functools.cache
def readable_suffixes() -> tuple[str, ...]:
    """Suffixes of the files that are taken from a folder and can be decoded."""
    return tuple(
        suffix
        for suffix in IMAGE_SUFFIXES
        if suffix not in SAMPLES or _can_decode(base64.b64decode(SAMPLES[suffix]))
    )


def _can_decode(content: bytes) -> bool:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), 1) is not None
    except cv2.error:
        return False
    finally:
        cv2.utils.logging.setLogLevel(level)


def _describe_passed_over(others: Counter) -> str:
    """A sentence that counts files by their suffix, with a blank before it, or ''."""
    if not others:
        return ''
    parts = []
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    for suffix, number in ranked[:MAX_SUFFIXES]:
        why = ' (no decoder)' if suffix in (*OTHER_IMAGES, *SAMPLES) else ''
        name = printable(suffix) or 'without a suffix'
        parts.append(f'{number:,} {name}{why}')
    more = sum(number for _, number in ranked[MAX_SUFFIXES:])
    if more:
        parts.append(f'{more:,} others')
    noun = 'file was' if others.total() == 1 else 'files were'
    return f' {others.total():,} other {noun} passed over: {", ".join(parts)}.'


def absolute_path(path: str) -> str:
    """Make the path of a local file absolute; leave a URL as it is."""
    try:
        path = to_path(path)
    except ValueError:
        return path
    return path if '://' in path else osp.abspath(path)


def common_folder(sources: Sequence[Source]) -> str:
    """Find the deepest folder that contains all files; ``'/'`` if there is none."""
    folders = {
        osp.dirname(absolute_path(source.image))
        for source in sources
        if isinstance(source.image, str)
    }
    try:
        return osp.commonpath(folders)
    except ValueError:
        # There is no file, or the files are on several drives or servers.
        return '/'
