# SPDX-License-Identifier: Apache-2.0
"""What measured values depend on: the machine, the versions, the commit."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Processor(NamedTuple):
    """The processor of this machine.

    ``flags`` are the instruction sets that Linux lists; empty elsewhere.
    """

    name: str
    flags: list[str]


def describe_processor() -> Processor:
    """Read the name of the processor and its instruction sets."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        fields = dict(line.split(':', 1) for line in lines if ':' in line)
        values = {key.strip(): value.split() for key, value in fields.items()}
        return Processor(' '.join(values['model name']), values.get('flags', []))
    except (OSError, KeyError):
        # Not Linux, or the processor gives no name.
        return Processor(platform.processor() or platform.machine(), [])


def count_cores() -> int:
    """Count the processor cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Collect the versions of Python and of packages.

    Args:
        packages (Iterable[str]): Names as in ``pip install``.

    Returns:
        dict[str, str]: By name; packages that are not installed are left out.
    """
    versions = dict(python=platform.python_version())
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def current_commit(folder: Path, generated: Sequence[str] = ()) -> str | None:
    """Find the commit of a checkout.

    Args:
        folder (Path): The checkout.
        generated (Sequence[str]): Paths in it whose changes do not count.

    Returns:
        str | None: The short hash, with ``-dirty`` if other files differ from the
        commit. None outside of a checkout or without git.
    """
    commit = _git(folder, 'rev-parse', '--short', 'HEAD')
    excluded = [f':!{path}' for path in generated]
    changes = _git(folder, 'status', '--porcelain', '--', '.', *excluded)
    return f'{commit}-dirty' if commit and changes else commit


def _git(folder: Path, *args: str) -> str | None:
    try:
        call = subprocess.run(
            ['git', *args], cwd=folder, capture_output=True, text=True
        )
    except OSError:
        return None
    return call.stdout.strip() or None
