# SPDX-License-Identifier: Apache-2.0
"""Write files so that a crash leaves the old content or the new one, never a part."""

import os
from pathlib import Path

PART = '.part'
"""Ending of a file that is being written."""


def sync(path: str | os.PathLike) -> None:
    """Let the content of a file or folder reach the disk."""
    flags = os.O_RDONLY | getattr(os, 'O_DIRECTORY', 0) if os.path.isdir(path) else 0
    try:
        descriptor = os.open(path, flags)
    except PermissionError:
        # Windows opens no folders.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(part: str | os.PathLike, path: str | os.PathLike) -> None:
    """Give a complete file its name, durably.

    Args:
        part (str | os.PathLike): The file, in the same folder as ``path``.
        path (str | os.PathLike): Its name from now on. A file of this name is replaced.
    """
    sync(part)
    os.replace(part, path)
    sync(Path(path).parent)


def write_bytes(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Write a file, durably.

    Processes that write the same file at the same time do not disturb each other: one
    of the contents stays.

    Args:
        path (str | os.PathLike): The file; its folder exists.
        content (bytes): The content.
    """
    path = Path(path)
    part = path.with_name(f'{path.name}.{os.getpid()}{PART}')
    try:
        part.write_bytes(content)
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a small file of text, see :func:`write_bytes`."""
    write_bytes(path, text.encode())


def remove_parts(folder: str | os.PathLike, pattern: str) -> None:
    """Remove files whose writing was cut off.

    Args:
        folder (str | os.PathLike): Their folder.
        pattern (str): Names that the files would have, as a glob pattern.
    """
    for part in Path(folder).glob(pattern + PART):
        # Another process may have been faster.
        part.unlink(missing_ok=True)
