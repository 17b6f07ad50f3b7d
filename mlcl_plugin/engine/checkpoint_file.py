# SPDX-License-Identifier: Apache-2.0
"""Check the file of a checkpoint before it is read."""

import stat
from os import PathLike
from pathlib import Path
from typing import TypeVar

from ..errors import CheckpointError, MissingCheckpointError
from ..local_files import kind_of

PathT = TypeVar('PathT', bound=str | PathLike)


def check_checkpoint(path: PathT) -> PathT:
    """Check that a checkpoint exists and is a file.

    Args:
        path (str | PathLike): A file; ``~`` is the home folder. A URL is not checked.

    Returns:
        str | PathLike: The path as it was given.

    Raises:
        MissingCheckpointError: If there is no such file.
        CheckpointError: If it is something else, such as a folder, or its folder must
            not be read.
    """
    if '://' in str(path):
        return path
    try:
        mode = Path(path).expanduser().stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingCheckpointError(f'Checkpoint {path} does not exist.') from error
    except OSError as error:
        raise CheckpointError(
            f'{path} cannot be used as a checkpoint: {error.strerror}.'
        ) from error
    if not stat.S_ISREG(mode):
        raise CheckpointError(
            f'{path} cannot be used as a checkpoint: expected a file, got '
            f'{kind_of(mode)}.'
        )
    return path
