# SPDX-License-Identifier: Apache-2.0
"""Search for the settings of a config that score best on held-out training images."""

from .run import Tuned, tune

__all__ = ['Tuned', 'tune']
