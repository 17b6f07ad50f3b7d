# SPDX-License-Identifier: Apache-2.0
"""Hold options of the command line against the steps of a config."""

import logging
from typing import Any

from mmengine.logging import print_log


def check_step_options(steps: dict | None, options: dict[str, Any]) -> None:
    """Refuse options of steps that there are not, and warn of those without effect.

    Args:
        steps (dict, optional): The config's ``steps``, before the options are merged.
        options (dict): Values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        ValueError: If ``steps.NAME...`` names no step of the config; merged, it would
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
