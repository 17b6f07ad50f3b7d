# SPDX-License-Identifier: Apache-2.0
"""Call the commands of this package as ones that can be called again alone."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any


class FailedCommandError(ValueError):
    """A command has failed, and has said why."""


def relative(path: Path) -> str:
    """Write a path in the shortest way from the current folder."""
    return min(os.path.relpath(path), str(path), key=len)


def call_command(name: str, *args: Any) -> None:
    """Print a command, and run it.

    Args:
        name (str): The command of ``mlcl``.
        *args: Its arguments. Paths are shortened.

    Raises:
        FailedCommandError: If the command fails.
    """
    words = [relative(a) if isinstance(a, Path) else str(a) for a in args]
    print(f'\n$ {shlex.join(["mlcl", name, *words])}', flush=True)
    # As a module, which needs no script on the path.
    module = [sys.executable, '-m', 'mlcl_plugin']
    code = subprocess.run([*module, name, *words]).returncode
    if code:
        raise FailedCommandError(f'mlcl {name} failed (exit code {code}), see above.')
