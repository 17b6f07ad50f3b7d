# SPDX-License-Identifier: Apache-2.0
"""Say which process of a run is dead or stopped when the others wait in vain."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size

from ..errors import LostProcessError
from .process_table import runs, start_of, state_of

SIGNS = re.compile(
    r'timed out|timeout|connection (closed|reset|refused)|broken pipe|'
    r'remote (peer|process)|nccl|gloo',
    re.IGNORECASE,
)
"""What the messages of torch's backends say when another process does not answer."""
OTHER_SIGNS = re.compile(r'^DataLoader ')
"""The beginning of similar messages with another cause: workers of a dataloader."""


class _Process(NamedTuple):
    rank: int
    host: str
    pid: int
    start: str | None


@contextmanager
def named_losses() -> Iterator[None]:
    """Turn an error of the communication into one that names the lost process.

    The processes tell each other where they run. When one waits in vain, until
    ``env_cfg.dist_cfg.timeout``, it looks up the others of its machine. Without several
    processes this does nothing.

    Raises:
        LostProcessError: In place of torch's error.
    """
    if get_world_size() == 1:
        yield
        return
    pid = os.getpid()
    own = _Process(get_rank(), socket.gethostname(), pid, start_of(pid))
    processes: list[_Process] = all_gather_object(own)
    try:
        yield
    except LostProcessError:
        # Named by a part of the run.
        raise
    except RuntimeError as error:
        text = ' '.join(str(error).split())
        communication = isinstance(error, torch.distributed.DistError)
        said = SIGNS.search(text) and not OTHER_SIGNS.search(text)
        if not communication and not said:
            raise
        others = [process for process in processes if process.rank != own.rank]
        raise LostProcessError(
            f'Process {own.rank} of {len(processes)} cannot reach the others '
            f'({text:.300}). {_describe(others, own.host)} Checkpoints are intact: '
            'start the run again with resume. How long a process waits: '
            'env_cfg.dist_cfg.timeout, in seconds.'
        ) from error


def _describe(processes: list[_Process], host: str) -> str:
    """Say what is known of the other processes."""
    lines = []
    for process in processes:
        if process.host != host:
            continue
        name = f'process {process.rank} (id {process.pid})'
        if not runs(process.pid) or start_of(process.pid) != process.start:
            lines.append(f'{name} is dead')
        elif state_of(process.pid) in ('T', 't'):
            lines.append(f'{name} is stopped')
    elsewhere = sorted({process.host for process in processes} - {host})
    if not lines:
        lines.append('the others of this machine run')
    if elsewhere:
        lines.append(f'see also {", ".join(elsewhere)}')
    text = '; '.join(lines)
    return f'{text[0].upper()}{text[1:]}.'
