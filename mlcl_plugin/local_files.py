# SPDX-License-Identifier: Apache-2.0
"""What a path leads to: a file, a pipe that would block, or nothing but a namesake."""

import functools
import os
import stat
import unicodedata
from pathlib import PurePath
from urllib.parse import unquote, urlsplit

from mmengine.fileio.backends import prefix_to_backends

KINDS = (
    (stat.S_ISREG, 'a file'),
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a named pipe'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)


def to_path(path: str) -> str:
    """Turn ``file://`` into a local path; leave other paths as they are.

    Args:
        path (str): A path or a URL.

    Raises:
        ValueError: If nothing can read URLs of this kind.

    Examples:
        >>> to_path('file:///photos/a%20b.jpg')
        '/photos/a b.jpg'
    """
    if '://' not in path:
        return path
    if path[:7].lower() == 'file://':
        parts = urlsplit(path)
        if parts.netloc not in ('', 'localhost'):
            raise ValueError(f'{path!r} names the machine {parts.netloc!r}, not this.')
        return unquote(path[7 + len(parts.netloc) :])
    prefix, _, rest = path.partition('://')
    # A prefix may begin with the name of a cluster, as cluster:s3://.
    scheme = prefix.rpartition(':')[2]
    # The backend itself is not made: reading needs its packages, computing a path not.
    if scheme not in prefix_to_backends:
        raise ValueError(
            f'{path!r:.200} begins with {scheme!r:.40}, which cannot be read. Expected '
            'a local path, file://, http:// or https://.'
        )
    if '://' in rest:
        raise ValueError(
            f"{path!r:.200} has '://' more than once, which MMEngine cannot read. "
            "Write '%3A//' for the later ones."
        )
    return path


def kind_of(mode: int) -> str:
    """Name what a path leads to, by its ``st_mode``: a file, a folder, a device, ..."""
    return next((name for is_kind, name in KINDS if is_kind(mode)), 'something else')


def check_regular(path: str | os.PathLike) -> None:
    """Refuse pipes, sockets and devices, of which reading may never end.

    Nothing is said of a path that does not exist or is not local: reading it raises the
    better error.

    Raises:
        ValueError: If the path leads to one.
    """
    try:
        mode = os.stat(path).st_mode
    # ValueError for a path with a zero byte.
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f'{os.fspath(path)!r} is {kind_of(mode)}, expected a file.')


def describe_namesake(path: str) -> str:
    """Say which file is probably meant by a path that does not exist.

    Args:
        path (str): The local path.

    Returns:
        str: A sentence with a blank before it, or '' if there is no such file.
    """
    if '://' in path or '\0' in path or os.path.lexists(path):
        return ''
    found, differences = _find_namesake(path)
    if found is None:
        return ''
    # Characters of two forms of Unicode look the same.
    show = ascii if 'another form of Unicode' in differences else repr
    return f' There is {show(found)}: {", ".join(differences)}.'


def _find_namesake(path: str) -> tuple[str | None, list[str]]:
    """The path of a file that is nearly that of another, and how they differ."""
    differences = []
    if '\\' in path and os.sep == '/':
        path = path.replace('\\', '/')
        differences.append('with / instead of \\')
        if os.path.exists(path):
            return path, differences
    folder, missing = path, []
    while not os.path.isdir(folder):
        folder, name = os.path.split(folder)
        if not name:
            return None, []
        missing.append(name)
        folder = folder or os.curdir
    for name in reversed(missing):
        try:
            names, stems = _list_folder(folder)
        except OSError:
            return None, []
        other = names.get(_key(name))
        if other is None and name == missing[0]:
            other = stems.get(_key(PurePath(name).stem))
            differences.append('with another ending')
        if other is None:
            return None, []
        differences += _differences(name, other)
        folder = os.path.join(folder, other)
    return folder.removeprefix(f'.{os.sep}'), list(dict.fromkeys(differences))


def _differences(name: str, other: str) -> list[str]:
    if _key(name) != _key(other):
        return []
    found = []
    if (name != name.strip()) != (other != other.strip()):
        found.append('without blanks' if name != name.strip() else 'with a blank')
    one, two = name.strip(), other.strip()
    if unicodedata.normalize('NFKC', one) != unicodedata.normalize('NFKC', two):
        found.append('in other capital letters')
    elif one != two:
        found.append('another form of Unicode')
    return found


def _key(name: str) -> str:
    text = unicodedata.normalize('NFKC', name).casefold()
    return unicodedata.normalize('NFKC', text).strip()


@functools.lru_cache(maxsize=4)
def _list_folder(folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """The names in a folder, by their keys and by the keys of their stems."""
    names = os.listdir(folder)
    return (
        {_key(name): name for name in names},
        {_key(PurePath(name).stem): name for name in names},
    )
