# SPDX-License-Identifier: Apache-2.0
"""Find the checkpoint that a run goes on from, also if the latest one is damaged."""

import logging
import os.path as osp
from pathlib import Path

from mmengine.logging import print_log

from ..errors import CheckpointError
from .checkpoint_loaders import load_from_local
from .pointers import LAST, has_pointer, read_pointer

NEEDED = ('meta', 'message_hub', 'state_dict', 'optimizer')
"""What a run needs to go on."""


def find_last_checkpoint(folder: str) -> str | None:
    """Find the latest checkpoint of a folder that a training can go on from.

    The checkpoint that ``last_checkpoint`` names is tried first. If it is gone, empty,
    damaged or lacks what a resume needs, the other checkpoints of the folder are tried,
    the newest first, and a warning says which one is used.

    Args:
        folder (str): The folder of a run.

    Returns:
        str, optional: The checkpoint; None if the folder has no ``last_checkpoint``,
        since the run has saved nothing.

    Raises:
        CheckpointError: If none of the checkpoints can be used.
    """
    if not has_pointer(folder, LAST):
        return None
    problems = []
    try:
        latest = read_pointer(folder, LAST)
    except ValueError as error:
        latest = None
        problems.append(str(error))
    if latest is not None:
        if '://' in latest:
            return latest
        problem = _problem(latest)
        if problem is None:
            return latest
        problems.append(problem)
    # best_*.pth has no state of the optimizer.
    others = [p for p in Path(folder).glob('*.pth') if not p.name.startswith('best_')]
    others.sort(key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)
    for path in others:
        if latest is not None and osp.abspath(path) == osp.abspath(latest):
            continue
        problem = _problem(str(path))
        if problem is None:
            print_log(
                f'{" ".join(problems)} The run goes on from {path}.',
                'current',
                logging.WARNING,
            )
            return str(path)
        problems.append(problem)
    raise CheckpointError(
        f'No checkpoint in {folder} can be used to resume: {" ".join(problems)} '
        f'Write the path of a good checkpoint into {osp.join(folder, LAST)}, or delete '
        'that file to start anew.'
    )


def _problem(path: str) -> str | None:
    """Why a checkpoint cannot be resumed from."""
    try:
        content = load_from_local(path, 'cpu')
    except (CheckpointError, OSError) as error:
        return str(error).rstrip('.') + '.'
    missing = [name for name in NEEDED if name not in content]
    return f'{path} has no {", ".join(missing)}.' if missing else None
