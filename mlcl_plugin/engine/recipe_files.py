# SPDX-License-Identifier: Apache-2.0
"""Where the recipes are that come with the package."""

from pathlib import Path

from ..version import __file__ as version_file

PACKAGE = Path(version_file).parent


def recipe_root() -> Path:
    """The folder that has ``configs`` and ``model-index.yml``.

    Raises:
        FileNotFoundError: If the installation carries no recipes.
    """
    # An installed package has configs and index in `.mim`. A checkout that is on the
    # path without an installation has them beside the package.
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        if (root / 'model-index.yml').is_file():
            return root
    raise FileNotFoundError(
        f'No model-index.yml in {PACKAGE / ".mim"} nor in {PACKAGE.parent}. Reinstall '
        'the package: pip install -e ".[onedl]" in its checkout.'
    )


def recipe_file(name: str) -> Path:
    """The file of a recipe, such as ``mlcl/mlcl_efflite0_tabular.py``."""
    return recipe_root() / 'configs' / name
