# SPDX-License-Identifier: Apache-2.0
"""Check an option that is a share."""

from numbers import Real


def check_share(name: str, value: float) -> None:
    """Raise a ``ValueError`` unless a value is a number from 0 to below 1.

    Args:
        name (str): The name of the option, for the message.
        value (float): The value.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise ValueError(f'{name} must be from 0 to below 1, got {value!r}.')
