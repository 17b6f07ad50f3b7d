# SPDX-License-Identifier: Apache-2.0
"""Weights that come with the package, and where they are."""

from .shipped import SCHEME, SHIPPED_MODEL, find_weights, seal_weights, shipped_weights

__all__ = [
    'SCHEME',
    'SHIPPED_MODEL',
    'find_weights',
    'seal_weights',
    'shipped_weights',
]
