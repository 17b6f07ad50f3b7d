# SPDX-License-Identifier: Apache-2.0
"""Call the commands of this package as ones that can be called again alone."""

import multiprocessing
import os
import runpy
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Commands are forks of a process that has imported what they need; on Windows, where
# there are no forks, they import it themselves.
METHODS = multiprocessing.get_all_start_methods()
# Not a BaseContext, in which mypy finds no Process.
CONTEXT: Any = multiprocessing.get_context(
    'forkserver' if 'forkserver' in METHODS else 'spawn'
)
CONTEXT.set_forkserver_preload(['mlcl_plugin.apis'])


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
    process = CONTEXT.Process(target=_run, args=([name, *words],))
    process.start()
    process.join()
    code = process.exitcode
    if code:
        raise FailedCommandError(f'mlcl {name} failed (exit code {code}), see above.')


def _run(words: Sequence[str]) -> None:
    """Run ``python -m mlcl_plugin`` with these arguments in this process."""
    sys.argv[1:] = words
    runpy.run_module('mlcl_plugin', run_name='__main__')
