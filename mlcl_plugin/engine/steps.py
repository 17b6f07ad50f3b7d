# SPDX-License-Identifier: Apache-2.0
"""How the steps of a config merge into plain configs.

A config with steps is a usual config with two more fields: ``runner_type`` names
:class:`StepwiseRunner`, ``steps`` maps the name of each step to its changes. This
module is the only one that knows how changes become the config of a step.
"""

import copy
import logging
import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

START_FIELDS = ('init_from', 'fresh_parts')
"""Fields of a step that say where it starts; they are no part of its config."""


def step_names(cfg: Config) -> list[str]:
    """Names of the steps of a config in their order; none without steps."""
    return list(cfg.get('steps') or {})


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
        in that of ``cfg``, if ``cfg`` has one.

    Raises:
        ValueError: If there is no such step.
    """
    if name not in step_names(cfg):
        raise ValueError(
            f"The config has no step '{name}', expected one of {step_names(cfg)}."
        )
    changes = copy.deepcopy(cfg.steps[name])
    for field in START_FIELDS:
        changes.pop(field, None)
    merged = base_config(cfg)
    merged.merge_from_dict(changes)
    if cfg.get('work_dir') is not None:
        merged.work_dir = osp.join(cfg.work_dir, name)
    # Loggers and visualizers are looked up by this name (MMEngine adds the time), so
    # that steps of one name would share their files.
    stem = osp.splitext(osp.basename(cfg.filename or 'train'))[0]
    merged.experiment_name = f'{stem}_{name}'
    return merged


def changes_everywhere(cfg: Config) -> Iterator[ConfigDict]:
    """All dicts of a config that may set a field: the config and each step's changes.

    An edit of each of them reaches every step, also those that set the field
    themselves. Edits change ``cfg``.
    """
    yield cfg._cfg_dict
    yield from (cfg.get('steps') or {}).values()


def innermost_dataset(dataset: dict) -> dict:
    """The config of the dataset inside of wrappers such as ``RepeatDataset``."""
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return dataset


def check_step_options(steps: dict | None, options: dict[str, Any]) -> None:
    """Refuse options of steps that do not exist, and warn of options without effect.

    Args:
        steps (dict, optional): The config's ``steps``, before the options are merged.
        options (dict): Values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        ValueError: If ``steps.NAME...`` names no step of the config. Merged, it would
            be trained as one more step.
    """
    steps = steps or {}
    for key in options:
        first, *rest = key.split('.')
        if first == 'steps':
            if rest and rest[0] not in steps:
                raise ValueError(
                    f"Option {key}: the config has no step '{rest[0]}', expected one "
                    f'of {list(steps)}.'
                )
            continue
        for name, changes in steps.items():
            own = f'steps.{name}.{key}'
            if own not in options and _is_set(changes, [first, *rest]):
                print_log(
                    f'{key} has no effect on {name}, which sets it itself. Use {own}.',
                    'current',
                    logging.WARNING,
                )


def _is_set(changes: Any, keys: list[str]) -> bool:
    """Whether a step's changes replace what ``keys`` leads to."""
    for key in keys:
        if not isinstance(changes, dict) or changes.get('_delete_'):
            return True
        if key not in changes:
            return False
        changes = changes[key]
    return not isinstance(changes, dict) or changes.get('_delete_', False)
