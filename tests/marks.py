# SPDX-License-Identifier: Apache-2.0
"""Marks of long tests."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def rare(*values: Any) -> ParameterSet:
    """Values of a test that is slow."""
    return pytest.param(*values, marks=pytest.mark.slow)


def pairs(first: Sequence[Any], second: Iterable[Any]) -> list[ParameterSet]:
    """All pairs of two kinds of values; fast is one pair for each of the second.

    The fast ones take the first values in turn, so that each of these is met, too.
    """
    return [
        pytest.param(a, b, marks=[] if place == i % len(first) else [pytest.mark.slow])
        for (i, b), (place, a) in product(enumerate(second), enumerate(first))
    ]
