# SPDX-License-Identifier: Apache-2.0
"""Files in a work folder that name checkpoints: where a run stopped or started."""

import os.path as osp
from pathlib import Path

from .durable_files import write_text

LAST = 'last_checkpoint'
"""Names the latest checkpoint; MMEngine's ``CheckpointHook`` writes it."""
FINISHED = 'finished_checkpoint'
"""Marks a finished step. Names its last checkpoint, or nothing if it has none."""
STARTED_FROM = 'started_from'
"""Names the weights that a step was told to start from."""


def has_begun(folder: str) -> bool:
    """Whether a folder has pointers of a run that can be resumed."""
    return any(has_pointer(folder, name) for name in (LAST, FINISHED, STARTED_FROM))


def has_pointer(folder: str, pointer: str) -> bool:
    """Whether a pointer exists."""
    return osp.exists(osp.join(folder, pointer))


def read_pointer(folder: str, pointer: str) -> str | None:
    """Read the path of a checkpoint from a pointer.

    A checkpoint that does not exist is looked up by its name in ``folder``, because
    the folder may have been moved.

    Returns:
        str, optional: The path; None if there is no pointer.

    Raises:
        ValueError: If the pointer is empty.
    """
    path = Path(folder, pointer)
    if not path.exists():
        return None
    checkpoint = path.read_text().strip()
    if not checkpoint:
        raise ValueError(
            f'{path} is empty, expected the path of a checkpoint. A run may have been '
            'killed while it wrote it. Write the path of a checkpoint into it, or '
            'delete it.'
        )
    here = osp.join(folder, osp.basename(checkpoint))
    if '://' not in checkpoint and not osp.isfile(checkpoint) and osp.isfile(here):
        return here
    return checkpoint


def write_pointer(folder: str, pointer: str, checkpoint: str) -> None:
    """Write the path of a checkpoint to a pointer.

    Other processes may read or write the pointer at the same time. They find the old or
    the new content, never a part.
    """
    if '://' not in checkpoint:
        checkpoint = osp.abspath(checkpoint)
    path = Path(folder, pointer)
    if path.exists() and path.read_text() == checkpoint:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, checkpoint)


def remove_pointers(folder: str, *pointers: str) -> bool:
    """Remove pointers, and no checkpoint.

    Returns:
        bool: Whether any of them existed.
    """
    existed = [Path(folder, name) for name in pointers if has_pointer(folder, name)]
    for path in existed:
        # Another process may have been faster.
        path.unlink(missing_ok=True)
    return bool(existed)


def mark_finished(folder: str) -> None:
    """Mark the step of a folder as finished."""
    latest = read_pointer(folder, LAST)
    write_text(Path(folder, FINISHED), latest or '')
