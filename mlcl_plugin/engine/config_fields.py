# SPDX-License-Identifier: Apache-2.0
"""The top-level fields of a config, and names that are none of them."""

import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

FIELDS = frozenset(inspect.signature(Runner).parameters) - {'cfg'} | {
    # read by MMEngine from the config itself
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'detect_anomalous_params',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
    # by this package
    'allow_other_labels',
    'cached_features',
    'steps',
}
"""Fields of a config that a run reads. Other top-level names are variables."""
STEP_FIELDS = FIELDS - {'runner_type', 'steps', 'custom_imports'} | {
    'fresh_parts',
    'init_from',
}
"""Fields that the changes of a step can have."""
MISSPELT = 0.9
"""From this similarity on, a name in a config is taken for a field with a mistake."""


def check_fields(cfg: Config) -> None:
    """Refuse misspelt fields of a config.

    A config file may have variables of any name. A name is refused if it is almost that
    of a field and holds a dict or list. The changes of a step have no variables.

    Args:
        cfg (Config): The config, with steps or without.

    Raises:
        ValueError: If there is such a name.
    """
    for name, value in cfg.items():
        close = get_close_matches(name, FIELDS, n=1, cutoff=MISSPELT)
        if name not in FIELDS and close and isinstance(value, dict | list):
            raise ValueError(
                f'The config has {name}, which no run reads. Did you mean {close[0]}? '
                'If it is a variable of the file, give it another name.'
            )
    for step, changes in (cfg.get('steps') or {}).items():
        for name in changes if isinstance(changes, dict) else ():
            if name not in STEP_FIELDS:
                raise ValueError(
                    f'steps.{step} has {name}, which no run reads.'
                    f'{did_you_mean(name, STEP_FIELDS)}'
                )


def check_option_names(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse options that set no field of a run.

    Args:
        cfg (Config): The config, before the options are merged.
        options (Mapping[str, Any]): Values by dotted key.

    Raises:
        ValueError: If the first part of a key is no field, or a variable that the
            config file has used already.
    """
    for key in options:
        name = key.split('.')[0]
        if name in FIELDS:
            continue
        if name in cfg:
            raise ValueError(
                f'Option {key}: {name} is a variable of the config file, whose value '
                'has been used already, so that the option would change nothing. Set '
                'it in a copy of the file, or set the fields that it is used in.'
            )
        raise ValueError(
            f'Option {key}: no run reads {name}.{did_you_mean(name, FIELDS)}'
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with the names that are like a wrong one; else with all of them.

    Args:
        name (str): The wrong name.
        known (Iterable[str]): The right names.

    Returns:
        str: The sentence after a blank.

    Examples:
        >>> did_you_mean('modle', ['model', 'steps'])
        ' Did you mean model?'
        >>> did_you_mean('x', ['model', 'steps'])
        ' Expected one of model, steps.'
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=2)
    if close:
        return f' Did you mean {" or ".join(close)}?'
    return f' Expected one of {", ".join(known)}.'
