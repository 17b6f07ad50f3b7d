# SPDX-License-Identifier: Apache-2.0
"""The version of the package."""

# setup.cfg reads it without importing the package, so it must be a plain string.
__version__ = '0.1.0'
