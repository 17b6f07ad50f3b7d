# SPDX-License-Identifier: Apache-2.0
"""Put configs, tools and model index where OpenMMLab's tools look for them.

The metadata are in ``setup.cfg``. ``mim``, ``mmengine.hub`` and ``Config`` expect
``<package>/.mim/{configs,tools,model-index.yml}``. A wheel gets copies, made in the
build folder so that the checkout stays as it is; an editable install gets links in
the checkout, which follow every edit.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mlcl_plugin'
SOURCES = ('configs', 'tools', 'model-index.yml')


def mim_files(root: Path = ROOT) -> Iterator[Path]:
    """Iterate over the files to carry, as paths relative to ``root``."""
    for name in SOURCES:
        source = root / name
        if not source.exists():
            raise FileNotFoundError(
                f'{source} is missing: the package cannot be built without '
                f'{", ".join(SOURCES)} beside setup.py.'
            )
        files = [source] if source.is_file() else sorted(source.rglob('*'))
        for file in files:
            if (
                file.is_file()
                and '__pycache__' not in file.parts
                and not file.name.startswith('.')
                and file.suffix not in ('.pyc', '.pyo')
            ):
                yield file.relative_to(root)


def copy_mim(target: Path, root: Path = ROOT) -> None:
    """Fill the folder ``target`` with copies."""
    for file in mim_files(root):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, target / file)


def link_mim(target: Path, root: Path = ROOT) -> None:
    """Fill the folder ``target`` with links, or with copies if links are refused."""
    remove(target)
    target.mkdir(parents=True)
    try:
        for name in SOURCES:
            source = root / name
            # Relative, so that they survive a move of the checkout.
            (target / name).symlink_to(
                os.path.relpath(source, target), target_is_directory=source.is_dir()
            )
    except OSError:
        # Windows asks for a right that few users have.
        remove(target)
        copy_mim(target, root)


def remove(path: Path) -> None:
    """Remove a folder, a file or a link, if it is there; never what a link shows."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


class BuildPy(build_py):
    """``build_py`` with the folder ``.mim``."""

    def run(self) -> None:
        if self.editable_mode:
            link_mim(ROOT / PACKAGE / '.mim')
            super().run()
            return
        built = Path(self.build_lib, PACKAGE)
        # setuptools leaves what an older build put there, which would be packed
        # again although its source is gone.
        if built.resolve() != ROOT / PACKAGE:
            remove(built)
        super().run()
        copy_mim(built / '.mim')

    def get_output_mapping(self) -> dict[str, str]:
        built = Path(self.build_lib, PACKAGE, '.mim')
        mapping = {str(built / file): str(file) for file in mim_files()}
        return {**super().get_output_mapping(), **mapping}

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return list(dict.fromkeys([*outputs, *self.get_output_mapping()]))


if __name__ == '__main__':
    setup(cmdclass={'build_py': BuildPy})
