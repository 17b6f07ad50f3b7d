# SPDX-License-Identifier: Apache-2.0
"""What a process owes to the launcher that has started it (torchrun)."""

import ctypes
import os
import signal
import sys
import threading
import time

from mmengine.config import Config

from ..errors import RestartError

WATCH = 1.0
"""Seconds between two looks at the launcher, where the system does not tell."""
PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl: the signal to get when the parent ends."""


def end_with_launcher(cfg: Config) -> None:
    """Let this process end when torchrun ends, also if torchrun is killed.

    A process whose launcher is gone would keep its GPU and go on to write into the work
    folder. On Linux the system ends it at once, also if it is stopped; elsewhere, a
    thread looks every :data:`WATCH` seconds. A checkpoint that is being written is
    not lost: it gets its name when it is complete.

    Args:
        cfg (Config): The config of the run. Other launchers than ``pytorch`` end their
            processes themselves.
    """
    if cfg.get('launcher', 'none') != 'pytorch' or os.name != 'posix':
        return
    parent = os.getppid()
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # It may have ended before the call.
        if os.getppid() == parent:
            return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH)
    os.kill(os.getpid(), signal.SIGKILL)


def check_restart(cfg: Config, resume: bool) -> None:
    """Refuse to begin anew where torchrun starts a failed run again.

    With ``--max-restarts``, torchrun starts the same command again. Without ``resume``
    it would train from the start, over the checkpoints of the first try.

    Args:
        cfg (Config): The config of the run.
        resume (bool): Whether the run is to go on where it was, if it has begun.

    Raises:
        RestartError: If torchrun has restarted this run and it is not to go on.
    """
    restarts = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    if cfg.get('launcher', 'none') != 'pytorch' or restarts == '0':
        return
    if not resume:
        raise RestartError(
            f'torchrun has started this run again (restart {restarts}), but without '
            'resume it would begin anew. Start it with resume from the first time on: '
            'a run that has saved nothing starts as without it.'
        )
