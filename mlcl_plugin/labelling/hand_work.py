# SPDX-License-Identifier: Apache-2.0
"""Tables of results that a person fills in, and that no later call may destroy."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

RECORD = 'written.json'
"""The file with the digests of the tables, as they were written."""


def check_untouched(out: Path, names: Sequence[str]) -> None:
    """Refuse a folder of results with tables that a person has changed.

    Args:
        out (Path): The folder.
        names (Sequence[str]): The tables that are to be written.

    Raises:
        FileExistsError: If one is there and is not what the last call has written.
    """
    known = _read(out)
    for name in names:
        path = out / name
        if path.exists() and known.get(name) != _digest(path):
            raise FileExistsError(
                f"'{path}' was changed after it had been written, and would be "
                f"overwritten. Choose another out=DIR than out='{out}', or move the "
                'file.'
            )


def record_written(*paths: Path) -> None:
    """Note what was written, for :func:`check_untouched`."""
    for path in paths:
        known = _read(path.parent) | {path.name: _digest(path)}
        record = path.with_name(RECORD)
        record.write_text(json.dumps(known, indent=1, sort_keys=True) + '\n')


def _read(out: Path) -> dict[str, str]:
    try:
        return dict(json.loads((out / RECORD).read_text()))
    # Without a record, all that is there counts as a person's.
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return {}


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
