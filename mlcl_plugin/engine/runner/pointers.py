# SPDX-License-Identifier: Apache-2.0
"""Files in a work folder that name the checkpoint to go on from."""

import os
import os.path as osp
from pathlib import Path

LAST = 'last_checkpoint'
"""Names the latest checkpoint; MMEngine's ``CheckpointHook`` writes it."""
FINISHED = 'finished_checkpoint'
"""Names the last checkpoint of a finished step, if it has saved any."""
STARTED_FROM = 'started_from'
"""Names the weights that a step was told to start from."""


def has_begun(folder: str) -> bool:
    """Whether a run that can be resumed has left its traces in ``folder``."""
    return any(osp.exists(osp.join(folder, p)) for p in (LAST, FINISHED, STARTED_FROM))


def read_pointer(folder: str, pointer: str) -> str | None:
    """The checkpoint that a pointer names, None without the pointer.

    A checkpoint that is gone is looked for by its name in ``folder``, which may have
    been moved.

    Raises:
        ValueError: If the pointer is empty.
    """
    path = Path(folder, pointer)
    if not path.exists():
        return None
    checkpoint = path.read_text().strip()
    if not checkpoint:
        raise ValueError(
            f'{path} is empty, expected the path of a checkpoint, perhaps since a run '
            'was killed while it wrote it. Write one into it, or delete it.'
        )
    here = osp.join(folder, osp.basename(checkpoint))
    if '://' not in checkpoint and not osp.isfile(checkpoint) and osp.isfile(here):
        return here
    return checkpoint


def write_pointer(folder: str, pointer: str, checkpoint: str) -> None:
    """Let a pointer name ``checkpoint``.

    Other processes may read or write it at the same time: they find the old or the
    new content, never a part.
    """
    if '://' not in checkpoint:
        checkpoint = osp.abspath(checkpoint)
    path = Path(folder, pointer)
    if path.exists() and path.read_text() == checkpoint:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{pointer}.{os.getpid()}')
    part.write_text(checkpoint)
    os.replace(part, path)
