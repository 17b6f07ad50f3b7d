# SPDX-License-Identifier: Apache-2.0
"""Check the file of a checkpoint before it is read."""

import os.path as osp

from ..errors import MissingCheckpointError


def check_checkpoint(path: str) -> str:
    """Check that a checkpoint exists.

    Args:
        path (str): A file. A URL is not checked.

    Returns:
        str: The path.

    Raises:
        MissingCheckpointError: If there is no such file.
    """
    if '://' not in str(path) and not osp.isfile(path):
        raise MissingCheckpointError(f'Checkpoint {path} does not exist.')
    return path
