# SPDX-License-Identifier: Apache-2.0
"""How reports write numbers."""

import math
from collections.abc import Sequence


def percent(value: float) -> str | None:
    """Write a fraction in percent.

    Args:
        value (float): From 0 to 1, or nan.

    Returns:
        str, optional: Two decimals; None for nan.

    Examples:
        >>> percent(0.1234)
        '12.34'
    """
    return None if math.isnan(value) else f'{100 * value:.2f}'


def with_interval(estimate: Sequence[float], sign: str = '') -> str | None:
    """Write a fraction and its interval in percent.

    Args:
        estimate (Sequence[float]): Value, lower and upper end.
        sign (str): '+' writes the sign of positive numbers. Defaults to ''.

    Returns:
        str, optional: None if the value is nan.

    Examples:
        >>> with_interval((0.5, 0.45, 0.55), '+')
        '+50.00 (+45.00 to +55.00)'
    """
    if math.isnan(estimate[0]):
        return None
    value, low, high = (f'{100 * number:{sign}.2f}' for number in estimate)
    return f'{value} ({low} to {high})'
