# SPDX-License-Identifier: Apache-2.0
"""What a search says of its trials."""

from collections.abc import Mapping
from typing import Any

from ..text_table import text_table
from .study import Search

SHOWN = 5
"""Trials of the table of the best ones."""


def value_text(value: Any) -> str:
    """Write a value of a setting.

    Examples:
        >>> value_text(0.000123456), value_text(8), value_text('SGD')
        ('0.0001235', '8', 'SGD')
    """
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def values_text(values: Mapping[str, Any]) -> str:
    """Write all settings of a trial in a line."""
    return ', '.join(f'{key}={value_text(value)}' for key, value in values.items())


def best_table(search: Search) -> str:
    """Make the table of the best trials."""
    rows = [
        [
            trial.number,
            f'{trial.value:.2f}',
            *map(value_text, search.values(trial).values()),
        ]
        for trial in search.complete[:SHOWN]
    ]
    return text_table(['trial', 'mAP', *search.space], rows)


def importance_table(importance: Mapping[str, float]) -> str:
    """Make the table of the importance of settings."""
    rows = [[key, f'{100 * share:.0f} %'] for key, share in importance.items()]
    return text_table(['setting', 'importance'], rows)
