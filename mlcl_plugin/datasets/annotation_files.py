# SPDX-License-Identifier: Apache-2.0
"""Read annotation files, with errors that name the file and the option."""

import codecs
import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmengine import fileio

from ..local_files import check_regular, to_path
from ..names_file import read_names
from ..plain_text import brief, list_some

FLAGS = {'0': False, 'false': False, '1': True, 'true': True}


def read_annotation_file(path: str, what: str, options: str, data_root: str) -> bytes:
    """Read a file, local or remote.

    Args:
        path (str): The file.
        what (str): What it is, for the error.
        options (str): The dataset's options that lead to it, for the error.
        data_root (str): The dataset's ``data_root``, for the error.

    Returns:
        bytes: Its content, without a byte order mark of UTF-8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, pipe or device.
    """
    check_regular(path)
    try:
        return fileio.get(path).removeprefix(codecs.BOM_UTF8)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"There is no {what} '{path}'. Check {options} and data_root "
            f"(data_root='{data_root}')."
        ) from error
    except IsADirectoryError as error:
        raise ValueError(
            f'{path} is a folder, expected a file: the {what}. Check {options}.'
        ) from error


def read_annotation_text(path: str, what: str, options: str, data_root: str) -> str:
    """Read a file of text, see :func:`read_annotation_file`.

    Raises:
        ValueError: If it is a folder or not UTF-8.
    """
    content = read_annotation_file(path, what, options, data_root)
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is not UTF-8 text: {error}. Save it in UTF-8.'
        ) from error


def decode_json(content: bytes, path: str) -> Any:
    """Decode JSON as Python writes it, NaN included.

    Args:
        content (bytes): The JSON, in UTF-8, UTF-16 or UTF-32.
        path (str): Its file, for errors.

    Returns:
        Any: What it holds.

    Raises:
        ValueError: If it is not valid JSON, nested too deeply or has a number of too
            many digits.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(
            f'{path} is nested too deeply: lists or objects in each other.'
        ) from error
    # Python reads no number of more than 4,300 digits.
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f'{path} is not valid JSON: {error}. The file may be incomplete: compare '
            'its size with the original.'
        ) from error
    except ValueError as error:
        raise ValueError(f'{path} cannot be read: {error}') from error


def read_flag(value: object) -> bool | None:
    """Read 0, 1, true or false, as numbers, booleans or text; None for anything else.

    Examples:
        >>> [read_flag(value) for value in (1, False, '0', 'True', 'maybe')]
        [True, False, False, True, None]
    """
    if isinstance(value, str):
        return FLAGS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None


def read_image_list(
    path: str, options: str, data_root: str, unique: bool = False
) -> list[str]:
    """Read a list of images, one per line. Blank lines are skipped.

    Args:
        path (str): The file.
        options (str): The dataset's options that lead to it, for errors.
        data_root (str): The dataset's ``data_root``, for errors.
        unique (bool): Whether to refuse a list with an image twice. Defaults to False.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, not UTF-8, has no image or, with ``unique``, one
            twice.
    """
    text = read_annotation_text(path, 'list of images', options, data_root)
    names = [line.strip() for line in text.split('\n') if line.strip()]
    if not names:
        raise ValueError(f'{path} is empty, expected one image per line.')
    if unique and len(set(names)) < len(names):
        name, number = Counter(names).most_common(1)[0]
        raise ValueError(
            f'{path} names {brief(name)} {number} times, expected each image once.'
        )
    return names


def read_classes(
    classes: str | os.PathLike | Sequence[str] | None,
) -> Sequence[str] | None:
    """Read names of classes if they are in a file.

    Args:
        classes (str | os.PathLike | Sequence[str], optional): The names, or the path
            of a file with one name per line.

    Returns:
        Sequence[str], optional: The names. None stays None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder or not UTF-8.
    """
    if not isinstance(classes, (str, os.PathLike)):
        return classes
    try:
        return read_names(classes)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Check classes; names themselves go into a list: classes=['"
            f"{classes}', ...]."
        ) from error


def to_local(paths: str | dict) -> Any:
    """Turn ``file://`` into local paths, in a path or in folders by key.

    Raises:
        ValueError: If nothing can read URLs of a kind.
    """
    if isinstance(paths, dict):
        return {key: to_local(path) for key, path in paths.items()}
    return to_path(paths) if isinstance(paths, str) else paths


def check_data_prefix(data_prefix: str | dict, expected: Sequence[str] = ()) -> None:
    """Check the folders of a dataset.

    Args:
        data_prefix (str | dict): The folder of the images, or folders by key.
        expected (Sequence[str]): Keys that the message names besides 'img_path'.
            Defaults to none.

    Raises:
        ValueError: If it is a dict without ``img_path``.
    """
    if isinstance(data_prefix, dict) and 'img_path' not in data_prefix:
        example = ', '.join(f"{key}='FOLDER'" for key in ('img_path', *expected))
        raise ValueError(
            f'data_prefix has the keys {sorted(data_prefix)}, expected '
            f"'img_path'. Write data_prefix=dict({example})."
        )


def check_classes(
    classes: Sequence[str], known: Sequence[str] | None = None, where: str = ''
) -> tuple[str, ...]:
    """Check names of classes that a user gave.

    Args:
        classes (Sequence[str]): The names.
        known (Sequence[str], optional): The names that exist. None accepts all.
            Defaults to None.
        where (str): The file that has the known names, for the error. Defaults to ''.

    Returns:
        tuple[str, ...]: The names.

    Raises:
        ValueError: If they are a single string, empty, repeated or not known.
    """
    if isinstance(classes, str):
        raise ValueError(
            f"classes is the string '{classes}', expected a sequence of names or the "
            'path of a file with one name per line.'
        )
    classes = tuple(classes)
    if not classes:
        raise ValueError("'classes' is empty, expected at least one name.")
    seen = set()
    for name in classes:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"'classes' holds {name!r}, expected names.")
        if name in seen:
            raise ValueError(f"'classes' has '{name}' more than once.")
        seen.add(name)
    if known is not None and not seen.issubset(known):
        raise ValueError(
            f"{where}{': ' if where else ''}'classes' has "
            f'{list_some(sorted(seen.difference(known)))}, expected some of the '
            f'{len(known)} names {list_some(known)}.'
        )
    return classes
