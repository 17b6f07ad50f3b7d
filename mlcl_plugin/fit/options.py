# SPDX-License-Identifier: Apache-2.0
"""What a fit is asked for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECIPES = ('auto', 'frozen', 'full')
UNITS = {'s': 1, 'm': 60, 'h': 3600}


@dataclass(frozen=True)
class FitOptions:
    """The options of a fit; :func:`mlcl_plugin.fit.fit` describes them.

    Raises:
        ValueError: If one is out of range, or two exclude each other.
    """

    source: str
    out: Path
    val: str | float | None = None
    test: str | None = None
    images: str | None = None
    classes: Sequence[str] | None = None
    group: str | None = None
    recipe: str = 'auto'
    backbone: str = 'efflite0'
    image_size: int | None = None
    epochs: int | None = None
    time: float | None = None
    plain: bool = False
    seed: int = 0
    device: str | None = None
    resume: bool = False
    cfg_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ValueError(f'recipe must be one of {RECIPES}, got {self.recipe!r}.')
        if self.image_size is not None and self.image_size < 32:
            raise ValueError(
                f'image_size must be at least 32, got image_size={self.image_size}.'
            )
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f'epochs must be positive, got epochs={self.epochs}.')
        if self.time is not None and self.time <= 0:
            raise ValueError(f'time must be positive, got time={self.time}.')
        if self.time is not None and self.epochs is not None:
            raise ValueError(
                f'epochs={self.epochs} and time={self.time:g} both set the length of '
                'the training. Give one of them.'
            )
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, got seed={self.seed}.')
        if isinstance(self.val, float) and not 0 < self.val < 1:
            raise ValueError(
                f'val must be a share between 0 and 1, got val={self.val}.'
            )


def read_time(text: str) -> float:
    """Read a duration.

    Examples:
        >>> read_time('90'), read_time('10m'), read_time('1.5h')
        (90.0, 600.0, 5400.0)

    Raises:
        ValueError: If it is none.
    """
    match = re.fullmatch(r'(\d+(?:\.\d+)?)([smh]?)', text.strip())
    if not match or float(match[1]) == 0:
        raise ValueError(f"expected a time such as 90s, 10m or 1.5h, got '{text}'")
    return float(match[1]) * UNITS[match[2] or 's']


def read_val(text: str) -> str | float:
    """Read a share of the images, or else a source of validation images.

    Examples:
        >>> read_val('0.2'), read_val('val.csv')
        (0.2, 'val.csv')
    """
    try:
        return float(text)
    except ValueError:
        return text
