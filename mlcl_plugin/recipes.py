# SPDX-License-Identifier: Apache-2.0
"""Find the recipes that come with the package, and configs by path or name."""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

SUFFIXES = ('.py', '.json', '.yml', '.yaml')
"""What the file of a config ends with."""


class Recipe(NamedTuple):
    """A recipe, as its first lines describe it.

    Attributes:
        name (str): The name of its file without ``.py``.
        path (Path): The file.
        method (str): What is trained.
        data (str): The data set.
        backbone (str): The backbone and the size of the images; empty for feature
            vectors.
    """

    name: str
    path: Path
    method: str
    data: str
    backbone: str


def recipe_root() -> Path:
    """Find the folder that holds ``configs`` and ``model-index.yml``.

    Raises:
        FileNotFoundError: If the installation carries no recipes.
    """
    package = Path(__file__).parent
    # An installed package has them in `.mim`. A checkout that is on the path without
    # an installation has them beside the package.
    for root in (package / '.mim', package.parent):
        if (root / 'model-index.yml').is_file():
            return root
    raise FileNotFoundError(
        f'No model-index.yml in {package / ".mim"} nor in {package.parent}. '
        'Reinstall the package: pip install -e ".[onedl]" in its checkout.'
    )


def recipe_paths() -> dict[str, Path]:
    """Find the file of each recipe by its name, which is unique."""
    configs = recipe_root() / 'configs'
    paths = configs.rglob('*.py')
    found = {p.stem: p for p in paths if '_base_' not in p.relative_to(configs).parts}
    return dict(sorted(found.items()))


def describe_recipe(name: str, path: Path) -> Recipe:
    """Read what the first lines of a recipe say: the method, then ``# Data:``."""
    with path.open(encoding='utf-8') as file:
        header = re.match(r'(?:#.*\n)*', file.read())
    lines = header.group().splitlines() if header else []
    text = ' '.join(line.lstrip('#').strip() for line in lines)
    method, _, rest = text.partition(' Data: ')
    # The first sentence; a full stop within a name has no space behind it.
    data, _, backbone = re.split(r'\.(?: |$)', rest)[0].rpartition(', with ')
    if not data:
        data, backbone = backbone, ''
    return Recipe(name, path, re.split(r'[.:](?: |$)', method)[0], data, backbone)


def find_config(config: str | os.PathLike) -> Path:
    """Find a config by its path, or by the name of a recipe of the package.

    Args:
        config (str | PathLike): The path of a file, or the name of a recipe with or
            without ``.py``. A file has priority.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If there is neither. The message has recipes of similar
            names.
        ValueError: If the name of the file is not that of a config.

    Examples:
        >>> find_config('mlcl_efflite0_voc07').name
        'mlcl_efflite0_voc07.py'
    """
    path = Path(config)
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise ValueError(
                f'{path} is no config: expected a name that ends with '
                f'{", ".join(SUFFIXES)}. `mlcl fit` takes tables and folders of images.'
            )
        return path
    recipes = recipe_paths()
    name = path.name.removesuffix('.py')
    if is_recipe(path):
        return recipes[name]
    raise FileNotFoundError(
        f'There is no config file {path}, and no recipe of that name. '
        f'{suggest(name, recipes)}`mlcl models` lists the recipes.'
    )


def is_recipe(name: str | os.PathLike) -> bool:
    """Whether this is the name of a recipe, with or without ``.py``."""
    path = Path(name)
    return path.parent == Path() and path.name.removesuffix('.py') in recipe_paths()


def recipe_weights(name: str) -> str | None:
    """The weights that the model index has for a recipe, if it has any."""
    index = read_index(recipe_root() / 'model-index.yml')
    return index.get(name.removesuffix('.py'), {}).get('Weights')


def suggest(name: str, recipes: dict[str, Path]) -> str:
    """A sentence with the recipes whose names are similar; empty without any."""
    near = difflib.get_close_matches(name, recipes, n=3)
    return f'Did you mean {" or ".join(near)}? ' if near else ''


def read_index(index: Path) -> dict[str, dict]:
    """Read a model index.

    Args:
        index (Path): The file ``model-index.yml``. Files that it imports are read, too.

    Returns:
        dict[str, dict]: The entry of each model by its name.
    """
    # Not at the top of the file: it comes with MMEngine, which may be missing.
    import yaml

    content = yaml.safe_load(index.read_text(encoding='utf-8'))
    found: dict[str, dict] = {}
    for name in content.get('Import') or []:
        found.update(read_index(index.parent / name))
    found.update({model['Name']: model for model in content.get('Models') or []})
    return found


def measured_results(index: Path) -> dict[str, str]:
    """Read the results in a model index, such as ``'mAP 86.1 on VOC2007 val'``.

    Args:
        index (Path): The file ``model-index.yml``. Files that it imports are read, too.

    Returns:
        dict[str, str]: By the name of the recipe; models without results are left out.
    """
    results = {
        name: ', '.join(
            f'{metric} {value} on {result["Dataset"]}'
            for result in model.get('Results') or []
            for metric, value in result['Metrics'].items()
        )
        for name, model in read_index(index).items()
    }
    return {name: text for name, text in results.items() if text}
