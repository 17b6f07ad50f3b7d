# SPDX-License-Identifier: Apache-2.0
"""Read names of labels from a file, one per line: one reader for all tools."""

import codecs
import os

from mmengine import fileio

from .local_files import check_regular


def read_names(path: str | os.PathLike) -> list[str]:
    """Read names of labels, one per line. Blank lines are skipped.

    A byte order mark, and line ends of Windows, are no part of a name.

    Args:
        path (str | os.PathLike): The file, in UTF-8; may be remote.

    Returns:
        list[str]: The names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder or pipe, not UTF-8 or has no name.
    """
    path = os.path.expanduser(path)
    check_regular(path)
    try:
        content = fileio.get(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"There is no file '{path}' with one class name per line."
        ) from error
    except IsADirectoryError as error:
        raise ValueError(
            f'{path} is a folder, expected a file with one class name per line.'
        ) from error
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is not UTF-8 text: {error}. Save it in UTF-8.'
        ) from error
    names = [line.rstrip('\r') for line in text.split('\n') if line.strip()]
    if not names:
        raise ValueError(f'{path} is empty, expected one class name per line.')
    return names
