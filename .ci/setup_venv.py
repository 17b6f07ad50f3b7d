# SPDX-License-Identifier: Apache-2.0
"""Make the virtual environment of the Makefile, or bring it up to date.

The script does nothing if the environment is complete. It calls pip if one of the files
in ``MADE_FROM`` has changed or a tool of the Makefile is missing. It makes a new
environment if the old one is incomplete, was moved, or belongs to another Python. It
never touches a folder that it did not make.
"""

# Without this, an old Python would fail before the message that says what is needed.
from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = 'mlcl_plugin.json'
CONSTRAINTS = 'constraints.txt'
EXTRAS = 'demo,export,tools,tune,dev'
FAMILIES = ('onedl', 'openmmlab')
# The modules that the Makefile calls.
TOOLS = ('importlinter', 'mypy', 'pytest', 'pytest_cov', 'ruff', 'xdist')
NEWEST_TESTED = (3, 13)
MADE_FROM = ('setup.cfg', 'setup.py', 'pyproject.toml')
# torch for CUDA takes most of it; see docs/install.md.
GIGABYTES = {'environment': 7, 'temporary files of pip': 3}


def say(message: str) -> None:
    print(f'setup: {message}', flush=True)


def describe_place(venv: Path) -> dict:
    """Describe what only a new environment can change."""
    base = os.path.realpath(getattr(sys, '_base_executable', sys.executable))
    return dict(python=base, version=sys.version, venv=str(venv))


def describe_content(target: str, constraints: str) -> dict:
    """Describe what pip can change in place.

    Args:
        target (str): What to install.
        constraints (str): A file of versions, relative to the checkout; empty for none.
    """
    digests = {
        name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
        for name in (*MADE_FROM, constraints)
        if name
    }
    return dict(checkout=str(ROOT), target=target, constraints=constraints, **digests)


def python_of(venv: Path) -> Path:
    return venv / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')


def imports(python: Path, *names: str) -> bool:
    """Tell whether a Python starts and can import the modules named."""
    command = [python, '-c', f'import {", ".join(names)}']
    try:
        call = subprocess.run(command, capture_output=True)
    except OSError:
        return False
    return call.returncode == 0


def reason_to_remake(venv: Path, found: dict) -> str | None:
    if found.get('place') != describe_place(venv):
        return 'was made by another Python or for another place'
    if not found.get('complete'):
        return 'is incomplete'
    if not imports(python_of(venv), 'pip'):
        return 'no longer runs'
    return None


def read_mark(venv: Path) -> dict:
    """Read the notes of this script about an environment; empty if there is none."""
    if not venv.exists() or (venv.is_dir() and not any(venv.iterdir())):
        return {}
    mark = venv / MARK
    if not mark.is_file():
        sys.exit(
            f'setup: {venv} exists, but `make setup` did not make it and does not '
            'change it. Remove it, or choose another folder: make setup VENV=...'
        )
    try:
        return json.loads(mark.read_text())
    except ValueError:
        return dict(place=None)


def write_mark(venv: Path, content: dict, complete: bool) -> None:
    mark = dict(place=describe_place(venv), content=content, complete=complete)
    (venv / MARK).write_text(json.dumps(mark, indent=2) + '\n')


def clear(venv: Path) -> None:
    # The mark stays until it is overwritten: it says that this script made the folder.
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()


def make(venv: Path) -> None:
    # Before the environment, so that the next run knows of an interruption.
    venv.mkdir(parents=True, exist_ok=True)
    write_mark(venv, {}, complete=False)
    say(f'making {venv} with Python {sys.version.split()[0]}')
    if sys.version_info[:2] > NEWEST_TESTED:
        newest = '.'.join(map(str, NEWEST_TESTED))
        say(
            f'the tests run up to Python {newest}. To choose one: make setup PYTHON=...'
        )
    if subprocess.run([sys.executable, '-m', 'venv', venv]).returncode:
        sys.exit(f'setup: {sys.executable} -m venv failed, see above.')


def warn_of_small_disks(venv: Path) -> None:
    """Say it before pip fails in the middle: torch for CPUs needs less."""
    places = dict(zip(GIGABYTES, (venv, Path(tempfile.gettempdir()))))
    needed: dict[int, int] = {}
    for name, place in places.items():
        disk = place.stat().st_dev
        needed[disk] = needed.get(disk, 0) + GIGABYTES[name]
    for place in places.values():
        free = shutil.disk_usage(place).free / 1e9
        most = needed.pop(place.stat().st_dev, 0)
        if free < most:
            say(
                f'{free:.1f} GB are free on the disk of {place}, and up to {most} GB '
                'are needed. If pip fails for want of space, free some, name another '
                'folder (make setup VENV=...; TMPDIR for temporary files), or install '
                'torch for CPUs (docs/install.md).'
            )


def install(venv: Path, content: dict) -> None:
    write_mark(venv, content, complete=False)
    warn_of_small_disks(venv)
    target, constraints = content['target'], content['constraints']
    say(f'installing {target} (takes a few minutes if torch must be downloaded)')
    command = [python_of(venv), '-m', 'pip', 'install', '-qq']
    # Python compiles what it imports; most files of the packages never are.
    command += ['--disable-pip-version-check', '--no-compile']
    command += ['--constraint', constraints] if constraints else []
    code = subprocess.run([*command, '--editable', target], cwd=ROOT).returncode
    if code:
        sys.exit('setup: pip failed, see above. The next run makes a new environment.')
    if not imports(python_of(venv), *TOOLS):
        sys.exit(
            f'setup: one of {", ".join(TOOLS)} cannot be imported, although pip lists '
            'them as installed. The next run makes a new environment.'
        )
    write_mark(venv, content, complete=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('venv', type=Path, help='the folder of the environment')
    parser.add_argument(
        '--family', choices=FAMILIES, default='onedl', help='the packages to stand on'
    )
    parser.add_argument(
        '--constraints',
        default=CONSTRAINTS,
        help='a file of versions for pip, relative to the checkout; empty for none',
    )
    args = parser.parse_args()
    # Resolved, because the venv module refuses a link.
    venv = args.venv.resolve()

    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(
            f'setup: Python >= 3.11 is needed, got {sys.version.split()[0]} '
            f'({sys.executable}). To choose another: make setup PYTHON=...'
        )
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError as error:
        version = '.'.join(map(str, sys.version_info[:2]))
        sys.exit(
            f'setup: {sys.executable} cannot make virtual environments ({error}). On '
            f'Debian and Ubuntu: apt install python{version}-venv. Or choose another '
            'Python: make setup PYTHON=...'
        )

    content = describe_content(f'.[{args.family},{EXTRAS}]', args.constraints)
    found = read_mark(venv)
    reason = reason_to_remake(venv, found) if found else None
    if reason:
        say(f'{venv} {reason}: clearing it')
        clear(venv)
    if reason or not found:
        make(venv)
    elif found.get('content') == content and imports(python_of(venv), *TOOLS):
        say(f'{venv} is up to date')
        return
    install(venv, content)
    say('done')


if __name__ == '__main__':
    main()
