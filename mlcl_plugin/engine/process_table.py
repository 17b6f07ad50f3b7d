# SPDX-License-Identifier: Apache-2.0
"""What the system says of processes of this machine."""

import os
from pathlib import Path


def runs(pid: int) -> bool:
    """Whether there is such a process; True on systems that do not tell."""
    if os.name != 'posix':
        # Windows would send a signal.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A dead process whose parent has not noticed yet.
    return state_of(pid) not in ('Z', 'X')


def state_of(pid: int) -> str | None:
    """The state of a process as Linux names it, such as 'T' for stopped."""
    fields = _stat(pid)
    return fields[0] if fields else None


def start_of(pid: int) -> str | None:
    """When a process started, since another one may have its id now; on Linux only."""
    fields = _stat(pid)
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    except OSError:
        return None
    return f'{boot} {fields[19]}' if fields else None


def _stat(pid: int) -> list[str] | None:
    """Fields of a process from its state on."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return None
    # The name before may hold anything.
    return text.rpartition(')')[2].split()
