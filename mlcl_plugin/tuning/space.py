# SPDX-License-Identifier: Apache-2.0
"""The settings that a search varies, and their values."""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from ..engine import check_config, merge_options

if TYPE_CHECKING:
    from optuna.trial import FixedTrial, Trial

EXPECTED = 'LOW:HIGH, LOW:HIGH:log or LOW:HIGH:int'
SCALARS = (bool, int, float, str, type(None))
"""Types of values that Optuna stores as they are."""
OWN = (
    'cached_features.dir',
    'launcher',
    'load_from',
    'resume',
    'runner_type',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'work_dir',
)
"""Fields that a search sets itself, or that would change what trials are judged by."""
IMAGES = 'train_dataloader.dataset.'
WHICH_IMAGES = (
    'ann_file',
    'classes',
    'data_prefix',
    'data_root',
    'image_set_path',
    'indices',
    'metainfo',
    'split',
)
"""Fields of training data that say which images and labels there are."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low (float): The smallest number.
        high (float): The largest number.
        log (bool): Whether to draw on a logarithmic scale. Defaults to False.
        integer (bool): Whether to draw integers only. Defaults to False.
        whole (bool): Whether both numbers were written as integers. Defaults to False.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    whole: bool = field(default=False, repr=False, compare=False)

    def suggest(self, trial: 'Trial | FixedTrial', key: str) -> Any:
        """Let a trial draw a value."""
        if self.integer:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def samples(self) -> list[Any]:
        """Values that stand for all in a check."""
        kind = int if self.integer else float
        return [kind(self.low), kind(self.high)]

    def stored(self, value: Any) -> Any:
        """What Optuna stores of a value of a config.

        Raises:
            LookupError: If it is out of range.
        """
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or not self.low <= value <= self.high:
            raise LookupError
        if not self.integer:
            return float(value)
        if int(value) != value:
            raise LookupError
        return int(value)


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
        options (tuple): The values.
    """

    options: tuple

    @property
    def by_name(self) -> dict[Any, Any]:
        """dict: The values by what Optuna stores of each."""
        return {
            item if isinstance(item, SCALARS) else repr(item): item
            for item in self.options
        }

    def suggest(self, trial: 'Trial | FixedTrial', key: str) -> Any:
        """Let a trial draw a value."""
        return self.by_name[trial.suggest_categorical(key, list(self.by_name))]

    def samples(self) -> list[Any]:
        """Values that stand for all in a check."""
        return list(self.options)

    def stored(self, value: Any) -> Any:
        """What Optuna stores of a value of a config.

        Raises:
            LookupError: If it is not among them.
        """
        for name, item in self.by_name.items():
            if type(item) is type(value) and item == value:
                return name
        raise LookupError


Space = dict[str, Range | Choice]


def read_space(
    ranges: Mapping[str, str] | None, choices: Mapping[str, Sequence] | None
) -> Space:
    """Read the settings to vary.

    Args:
        ranges (Mapping[str, str], optional): ``'LOW:HIGH'``, ``'LOW:HIGH:log'`` or
            ``'LOW:HIGH:int'`` by dotted key; ``log`` and ``int`` go together.
        choices (Mapping[str, Sequence], optional): Two or more values by dotted key.

    Returns:
        Space: What to draw, by key.

    Raises:
        ValueError: If there is none, one is given twice, or one has a wrong form.

    Examples:
        >>> read_space({'a.lr': '1e-4:0.1:log'}, {'a.type': ['SGD', 'AdamW']})['a.lr']
        Range(low=0.0001, high=0.1, log=True, integer=False)
    """
    ranges, choices = dict(ranges or {}), dict(choices or {})
    if not ranges and not choices:
        raise ValueError(
            'There is nothing to search: give at least one setting in ranges, such as '
            'optim_wrapper.optimizer.lr=1e-4:1e-2:log, or in choices.'
        )
    twice = sorted(set(ranges) & set(choices))
    if twice:
        raise ValueError(f'{twice[0]} is both in ranges and in choices. Keep one.')
    space: Space = {key: _read_range(key, text) for key, text in ranges.items()}
    for key, options in choices.items():
        space[key] = _read_choice(key, options)
    return space


def _read_range(key: str, text: Any) -> Range:
    low, *rest = str(text).split(':')
    high, kinds = (rest[0], rest[1:]) if rest else ('', [])
    wrong = f'{key}: expected a range as {EXPECTED}, got {text!r}.'
    if set(kinds) - {'log', 'int'} or len(set(kinds)) < len(kinds):
        raise ValueError(wrong)
    try:
        numbers = float(low), float(high)
    except ValueError:
        raise ValueError(wrong) from None
    if not all(map(math.isfinite, numbers)) or numbers[0] >= numbers[1]:
        raise ValueError(f'{key}: LOW must be below HIGH, got {text!r}.')
    whole = all(re.fullmatch(r'\s*[+-]?\d+\s*', part) for part in (low, high))
    found = Range(*numbers, log='log' in kinds, integer='int' in kinds, whole=whole)
    if found.integer and not all(number.is_integer() for number in numbers):
        raise ValueError(f'{key}: expected integers for LOW and HIGH, got {text!r}.')
    if found.log and found.low < (1 if found.integer else 1e-300):
        raise ValueError(
            f'{key}: a logarithmic range needs a LOW above 0, got {text!r}.'
        )
    return found


def _read_choice(key: str, options: Any) -> Choice:
    if isinstance(options, str) or not isinstance(options, Sequence):
        options = [options]
    found = Choice(tuple(options))
    # 1, 1.0 and True are one value for Optuna.
    if len(options) < 2 or len(found.by_name) < len(options):
        raise ValueError(
            f'{key}: expected two or more values that differ, as A,B,C, got '
            f'{list(options)}.'
        )
    return found


def check_space(
    cfg: Config, space: Space, options: Mapping[str, Any] | None = None
) -> None:
    """Refuse settings that a trial could not be trained with.

    Args:
        cfg (Config): The config.
        space (Space): What to vary.
        options (Mapping, optional): Options that have been merged into the config.

    Raises:
        ValueError: If nothing takes a setting, it would have no effect, a search sets
            it itself, it is among the options, too, or fractions would be drawn for an
            integer.
    """
    steps = list(cfg.get('steps') or {})
    for key in space:
        plain = key
        for step in steps:
            plain = plain.removeprefix(f'steps.{step}.')
        for own in OWN:
            if plain == own or plain.startswith(f'{own}.'):
                raise _not_searched(key)
        if plain.startswith(IMAGES) and set(plain.split('.')) & set(WHICH_IMAGES):
            raise _not_searched(key)
        if key in (options or {}):
            raise ValueError(
                f'{key} is searched and given in cfg_options. Keep one of both.'
            )
        item, value = space[key], _value_of(cfg, key)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if is_integer and isinstance(item, Range) and item.whole and not item.integer:
            low, high = item.samples()
            raise ValueError(
                f'{key} is an integer in the config ({value}). Draw integers by '
                f'{key}={low:.0f}:{high:.0f}:int, or fractions by '
                f'{key}={low:.1f}:{high:.1f}.'
            )
    first = {key: item.samples()[0] for key, item in space.items()}
    for key, item in space.items():
        for sample in item.samples():
            changed = copy.deepcopy(cfg)
            merge_options(changed, {**first, key: sample})
            check_config(changed)


def _not_searched(key: str) -> ValueError:
    return ValueError(
        f'{key} cannot be searched: trials are compared by their mAP on the same '
        'held-out images, each in a folder of its own. Set it in the config, or by '
        'cfg_options.'
    )


def own_values(cfg: Config, space: Space) -> dict[str, Any] | None:
    """The values of a config as Optuna stores them; None if one is not in the space."""
    try:
        return {
            key: item.stored(_value_of(cfg, key, MISSING))
            for key, item in space.items()
        }
    except LookupError:
        return None


MISSING = object()


def _value_of(cfg: Config, key: str, missing: Any = None) -> Any:
    """The value of a dotted key."""
    value: Any = cfg
    for name in key.split('.'):
        if isinstance(value, list | tuple):
            found = name.isdigit() and int(name) < len(value)
            value = value[int(name)] if found else missing
        else:
            found = isinstance(value, Config | dict) and name in value
            value = value[name] if found else missing
        if not found:
            return missing
    return value
