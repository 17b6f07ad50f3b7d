# SPDX-License-Identifier: Apache-2.0
"""A sheet of photographs with a few words to each, as one HTML file."""

from .sheet import Card, Line, Sheet, write_sheet

__all__ = ['Card', 'Line', 'Sheet', 'write_sheet']
