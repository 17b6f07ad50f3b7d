# SPDX-License-Identifier: Apache-2.0
"""How the steps of a config merge into plain configs.

A config with steps is a usual config with two more fields: ``runner_type`` names
:class:`StepwiseRunner`, and ``steps`` maps the name of each step to its changes. No
other module knows how changes become the config of a step.
"""

import copy
import logging
import os.path as osp
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

START_FIELDS = ('init_from', 'fresh_parts')
"""Fields of a step that say how it starts. They are not part of its config."""


def check_steps(cfg: Config) -> None:
    """Check that a config has steps.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If ``steps`` is missing or empty, or a step is not a dict.
    """
    steps = cfg.get('steps')
    if not isinstance(steps, dict) or not steps:
        raise ValueError(
            'StepwiseRunner expects steps=dict(NAME=dict(...), ...) in the config, got '
            f'{steps!r}. Use the default Runner for a single step.'
        )
    for name, changes in steps.items():
        if not isinstance(changes, dict):
            raise ValueError(
                f'steps.{name} must be a dict of changes to the config, got '
                f'{changes!r}.'
            )


def step_names(cfg: Config) -> list[str]:
    """Names of the steps of a config in their order; none without steps."""
    return list(cfg.get('steps') or {})


def step_changes(cfg: Config, name: str) -> ConfigDict:
    """The changes of a step, not a copy."""
    return cfg.steps[name]


def end_after(cfg: Config, name: str) -> None:
    """Remove the steps after a step.

    Args:
        cfg (Config): A config with steps, changed in place.
        name (str): The last step to keep.
    """
    names = step_names(cfg)
    for later in names[names.index(name) + 1 :]:
        cfg.steps.pop(later)


def step_dir(cfg: Config, name: str) -> str:
    """Folder of the checkpoints and logs of a step, inside ``work_dir``."""
    return osp.join(cfg.work_dir, name)


def base_config(cfg: Config) -> Config:
    """Copy a config without its steps: the plain config that all steps change."""
    cfg = copy.deepcopy(cfg)
    cfg.pop('steps', None)
    cfg.pop('runner_type', None)
    return cfg


def step_config(cfg: Config, name: str) -> Config:
    """Merge the changes of a step into the rest of a config.

    Args:
        cfg (Config): A config with steps.
        name (str): The name of the step.

    Returns:
        Config: The plain config of the step. Its ``work_dir`` is the folder of the step
        if ``cfg`` has a ``work_dir``.

    Raises:
        ValueError: If there is no such step.

    Examples:
        >>> cfg = Config(dict(seed=0, steps=dict(first=dict(), second=dict(seed=1))))
        >>> step_config(cfg, 'first').seed, step_config(cfg, 'second').seed
        (0, 1)
    """
    if name not in step_names(cfg):
        raise ValueError(
            f"The config has no step '{name}', expected one of {step_names(cfg)}."
        )
    changes = copy.deepcopy(step_changes(cfg, name))
    for field in START_FIELDS:
        changes.pop(field, None)
    merged = base_config(cfg)
    merged.merge_from_dict(changes)
    if cfg.get('work_dir') is not None:
        merged.work_dir = step_dir(cfg, name)
    # MMEngine looks up loggers and visualizers by this name, to which it adds the time.
    # Steps of the same name would share their files.
    stem = osp.splitext(osp.basename(cfg.filename or 'train'))[0]
    merged.experiment_name = f'{stem}_{name}'
    return merged


def trained_configs(cfg: Config) -> Iterator[Config]:
    """Iterate over the plain configs that are trained, as copies.

    Args:
        cfg (Config): A config.

    Yields:
        Config: That of each step; of a config without steps itself.
    """
    if not step_names(cfg):
        yield base_config(cfg)
    for name in step_names(cfg):
        yield step_config(cfg, name)


def changes_everywhere(cfg: Config) -> Iterator[ConfigDict]:
    """Iterate over all dicts that may set a field: the config and each step's changes.

    To change a field in every step, change it in each of these dicts. They belong to
    ``cfg``.
    """
    yield cfg._cfg_dict
    yield from (cfg.get('steps') or {}).values()


def innermost_dataset(dataset: dict) -> dict:
    """Take the config of a dataset out of wrappers such as ``RepeatDataset``.

    Args:
        dataset (dict): The config of a dataset or wrapper.

    Returns:
        dict: The config of the innermost dataset, not a copy.

    Examples:
        >>> innermost_dataset(dict(type='RepeatDataset', dataset=dict(type='VOC')))
        {'type': 'VOC'}
    """
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return dataset


def check_step_options(
    steps: Mapping | None,
    options: Mapping[str, Any],
    used: Collection[str] | None = None,
) -> None:
    """Refuse options of steps that do not exist, and warn of options without effect.

    Args:
        steps (dict, optional): ``steps`` of the config, before the options are merged.
        options (dict): Values by dotted key, as ``Config.merge_from_dict`` takes them.
        used (Collection[str], optional): The steps whose changes are used. Defaults to
            all.

    Raises:
        ValueError: If ``steps.NAME...`` names no step of the config (merged into it,
            it would be trained as one more step), or if every used step sets the field
            itself.
    """
    if steps is None or options.get('steps', steps) is None:
        steps = {}
    used = [name for name in steps if used is None or name in used]
    for key in options:
        first, *rest = key.split('.')
        if first == 'steps':
            if rest and rest[0] not in steps:
                raise ValueError(
                    f"Option {key}: the config has no step '{rest[0]}', expected one "
                    f'of {list(steps)}.'
                )
            if rest and rest[0] not in used:
                _warn(f'{key} has no effect here: step {rest[0]} is not used.')
            continue
        deaf = [
            name
            for name in used
            if f'steps.{name}.{key}' not in options
            and _is_set(steps[name], [first, *rest])
        ]
        own = ' or '.join(f'steps.{name}.{key}' for name in deaf)
        if deaf and deaf == used:
            raise ValueError(
                f'Option {key} changes nothing: {" and ".join(deaf)} set it. Use {own}.'
            )
        for name in deaf:
            _warn(
                f'{key} has no effect on {name}, which sets it itself. Use '
                f'steps.{name}.{key}.'
            )


def _warn(message: str) -> None:
    print_log(message, 'current', logging.WARNING)


def _is_set(changes: Any, keys: list[str]) -> bool:
    """Whether the changes of a step replace the value that ``keys`` lead to."""
    for key in keys:
        if not isinstance(changes, dict) or changes.get('_delete_'):
            return True
        if key not in changes:
            return False
        changes = changes[key]
    return not isinstance(changes, dict) or changes.get('_delete_', False)
