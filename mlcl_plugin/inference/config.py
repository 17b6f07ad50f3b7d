# SPDX-License-Identifier: Apache-2.0
"""What a config says about inference."""

import copy
from os import PathLike
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.apis import ModelHub, list_models

from ..engine import innermost_dataset, load_config
from ..local_files import check_regular
from ..recipes import SUFFIXES, is_recipe, recipe_paths, recipe_weights, suggest


def load_model_config(model: str | PathLike | Config) -> tuple[Config, str | None]:
    """Load the config that a path or a name stands for.

    Args:
        model (str | PathLike | Config): A config, the path of its file, or the name of
            a recipe or of a model of MMPretrain (``mmpretrain.list_models()``).

    Returns:
        tuple[Config, str | None]: A copy of the config, and where the weights are that
        the index has for it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such name, or the file cannot be read.
    """
    if isinstance(model, Config):
        return copy.deepcopy(model), None
    path = Path(model)
    check_regular(path)
    if path.is_file() or path.suffix in SUFFIXES and not is_recipe(path):
        return load_config(path), None
    if is_recipe(path):
        return load_config(path), recipe_weights(path.name)
    # Reads the index of MMPretrain, which takes seconds.
    if str(model) in list_models():
        info = ModelHub.get(str(model))
        return info.config, info.weights
    raise ValueError(
        f"'{model}' is neither a config file nor the name of a model. "
        f'{suggest(path.name, recipe_paths())}`mlcl models` lists ours, '
        'mmpretrain.list_models() those of MMPretrain.'
    )


def config_scope(cfg: Config):
    """Make a context in which registries look in the config's own scope first."""
    return DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain'))


def config_of_test_dataset(cfg: Config) -> dict:
    """The config of the test dataset without its wrappers; empty without a dataset."""
    return innermost_dataset((cfg.get('test_dataloader') or {}).get('dataset') or {})
