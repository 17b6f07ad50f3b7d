# SPDX-License-Identifier: Apache-2.0
"""Compare the resolved recipes of this tree with those of a commit.

    python .ci/compare_recipes.py COMMIT

Prints each recipe that is new, gone or different, with the fields that differ. Exits
with 1 if a recipe of the commit is gone or different.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
ABSENT = '(absent)'


def resolve(folder: Path) -> dict[str, dict]:
    """Read all recipes below a folder, by path relative to it."""
    paths = sorted(folder.rglob('*.py'))
    return {
        str(path.relative_to(folder)): Config.fromfile(path).to_dict()
        for path in paths
        if '_base_' not in path.relative_to(folder).parts
    }


def recipes_of(commit: str) -> dict[str, dict]:
    """Read all recipes of a commit."""
    command = ['git', '-C', str(ROOT), 'archive', commit, 'configs']
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as file:
            file.extractall(folder, filter='data')
        return resolve(Path(folder) / 'configs')


def differences(before: object, after: object, key: str = '') -> Iterator[str]:
    """Describe each field that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}, key=str):
            old, new = before.get(name, ABSENT), after.get(name, ABSENT)
            yield from differences(old, new, f'{key}.{name}'.lstrip('.'))
    elif type(before) is not type(after) or before != after:
        yield f'{key}: {before!r} -> {after!r}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('commit', help='the commit to compare with')
    before = recipes_of(parser.parse_args().commit)
    after = resolve(ROOT / 'configs')
    changed = 0
    for name in sorted({*before, *after}):
        if name not in before:
            print(f'new       {name}')
            continue
        found = list(differences(before[name], after.get(name, ABSENT)))
        if found:
            changed += 1
            print(f'different {name}' if name in after else f'gone      {name}')
            print(*(f'    {line}' for line in found), sep='\n')
    print(f'{len(before) - changed} of {len(before)} recipes are equal')
    return int(changed > 0)


if __name__ == '__main__':
    sys.exit(main())
