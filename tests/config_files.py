# SPDX-License-Identifier: Apache-2.0
"""The config files of the project, without those that a user has added."""

import subprocess
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def config_files() -> list[Path]:
    """All files in ``configs``; in a git checkout only those that git tracks."""
    call = subprocess.run(
        ['git', '-C', str(CONFIGS), 'ls-files', '-z', '--', '*.py'],
        capture_output=True,
        text=True,
    )
    names = [name for name in call.stdout.split('\0') if name]
    if call.returncode == 0 and names:
        # A file that is deleted but not committed is still listed.
        return sorted(p for p in map(CONFIGS.joinpath, names) if p.exists())
    return sorted(CONFIGS.rglob('*.py'))


def recipes() -> list[Path]:
    """The files that can be trained: all but the parts in ``_base_``."""
    return [path for path in config_files() if '_base_' not in path.parts]
