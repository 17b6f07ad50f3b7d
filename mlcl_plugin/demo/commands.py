# SPDX-License-Identifier: Apache-2.0
"""Call the tools as commands that can be called again alone."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any


class FailedToolError(ValueError):
    """A tool has failed, and has said why."""


def relative(path: Path) -> str:
    """Write a path in the shortest way from the current folder."""
    return min(os.path.relpath(path), str(path), key=len)


def call_tool(script: Path, *args: Any) -> None:
    """Print the command of a tool, and run it.

    Args:
        script (Path): The tool.
        *args: Its arguments. Paths are shortened.

    Raises:
        FailedToolError: If the tool fails.
    """
    words = [relative(a) if isinstance(a, Path) else str(a) for a in args]
    name = relative(script)
    print(f'\n$ {shlex.join(["python", name, *words])}', flush=True)
    code = subprocess.run([sys.executable, name, *words]).returncode
    if code:
        raise FailedToolError(f'{name} failed (exit code {code}), see above.')
