# SPDX-License-Identifier: Apache-2.0
"""Put configs, tools and model index where OpenMMLab's tools look for them.

``mim``, ``mmengine.hub`` and ``Config`` expect
``<package>/.mim/{configs,tools,model-index.yml}``. A wheel gets copies, made in the
build folder, so the checkout does not change. An editable install gets links in the
checkout, so edits take effect at once. The metadata are in ``setup.cfg``.
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
    """Iterate over the files for ``.mim``, as paths relative to ``root``."""
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
    """Fill the folder ``target`` with links, or copies if links are not allowed."""
    remove(target)
    target.mkdir(parents=True)
    try:
        for name in SOURCES:
            source = root / name
            # Relative, so that the links stay valid when the checkout moves.
            (target / name).symlink_to(
                os.path.relpath(source, target), target_is_directory=source.is_dir()
            )
    except OSError:
        # Windows needs a privilege for links that few users have.
        remove(target)
        copy_mim(target, root)


def remove(path: Path) -> None:
    """Remove a folder, file or link if it exists, but not the target of a link."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


class BuildPy(build_py):
    """``build_py`` with the folder ``.mim``."""

    def run(self) -> None:
        """Build, and make ``.mim``."""
        if self.editable_mode:
            link_mim(ROOT / PACKAGE / '.mim')
            super().run()
            return
        built = Path(self.build_lib, PACKAGE)
        # setuptools keeps the files of an older build there and would pack those whose
        # sources no longer exist.
        if built.resolve() != ROOT / PACKAGE:
            remove(built)
        super().run()
        copy_mim(built / '.mim')

    def get_output_mapping(self) -> dict[str, str]:
        """Map the files that are built to their sources."""
        built = Path(self.build_lib, PACKAGE, '.mim')
        mapping = {str(built / file): str(file) for file in mim_files()}
        return {**super().get_output_mapping(), **mapping}

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """List the files that are built."""
        outputs = super().get_outputs(include_bytecode)
        return list(dict.fromkeys([*outputs, *self.get_output_mapping()]))


if __name__ == '__main__':
    setup(cmdclass={'build_py': BuildPy})
