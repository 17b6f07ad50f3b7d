# SPDX-License-Identifier: Apache-2.0
"""Write several files, all of them or none."""

import itertools
import os
import uuid
from collections.abc import Sequence

from .form import Files


def write_files(prepared: Sequence[Files], overwrite: bool = False) -> None:
    """Write all files, or none if one of them exists and holds something else.

    Args:
        prepared (Sequence[Callable]): What :func:`prepare_files` returned.
        overwrite (bool): Whether to replace files that hold something else. Defaults
            to False.

    Raises:
        FileExistsError: If there is such a file and ``overwrite`` is False.
    """
    if not overwrite:
        for path, content in itertools.chain(*(files() for files in prepared)):
            if path.exists() and not (path.is_file() and path.read_bytes() == content):
                raise FileExistsError(
                    f"'{path}' exists already and holds something else. Nothing was "
                    'written. Choose another place, or let it be replaced '
                    '(overwrite=True).'
                )
    for path, content in itertools.chain(*(files() for files in prepared)):
        path.parent.mkdir(parents=True, exist_ok=True)
        # An interrupted call must not leave half a file.
        beside = path.with_name(f'.{uuid.uuid4().hex}.part')
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def encode_lines(lines: Sequence[str]) -> bytes:
    """Make the content of a text file, each line with an end."""
    return ''.join(f'{line}\n' for line in lines).encode()
