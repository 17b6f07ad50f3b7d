# SPDX-License-Identifier: Apache-2.0
"""Read annotation files, with errors that name the file and the option."""

import os
from collections.abc import Sequence

from mmengine import fileio


def read_annotation_file(path: str, what: str, options: str, data_root: str) -> bytes:
    """Read a file, local or remote.

    Args:
        path (str): The file.
        what (str): What it is, for the error.
        options (str): The dataset's options that lead to it, for the error.
        data_root (str): The dataset's ``data_root``, for the error.

    Returns:
        bytes: Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder.
    """
    try:
        return fileio.get(path)
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
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is not UTF-8 text: {error}. Save it in UTF-8.'
        ) from error


def read_image_list(path: str, options: str, data_root: str) -> list[str]:
    """Read a list of images, one per line. Blank lines are skipped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, not UTF-8 or has no image.
    """
    text = read_annotation_text(path, 'list of images', options, data_root)
    names = [line.strip() for line in text.split('\n') if line.strip()]
    if not names:
        raise ValueError(f'{path} is empty, expected one image per line.')
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
    path = os.path.expanduser(classes)
    if not fileio.exists(path):
        raise FileNotFoundError(
            f"There is no file '{path}' with one class name per line. Check "
            f"classes; names themselves go into a list: classes=['{path}', ...]."
        )
    text = read_annotation_text(path, 'names of classes', 'classes', '')
    return [line.rstrip('\r') for line in text.split('\n') if line.strip()]


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
        unknown = sorted(seen.difference(known))
        raise ValueError(
            f"{where}{': ' if where else ''}'classes' has {unknown}, expected some of "
            f'the {len(known)} names {list(known)}.'
        )
    return classes
