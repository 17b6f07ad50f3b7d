# SPDX-License-Identifier: Apache-2.0
"""The file of a checkpoint, before it is read."""

import os.path as osp


def check_checkpoint(path: str) -> str:
    """Raise if a checkpoint is a local file that does not exist.

    Args:
        path (str): A file, or a URL, which is not looked at.

    Returns:
        str: The path.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if '://' not in str(path) and not osp.isfile(path):
        raise FileNotFoundError(f'Checkpoint {path} does not exist.')
    return path
