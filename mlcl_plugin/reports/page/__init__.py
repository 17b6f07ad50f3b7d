# SPDX-License-Identifier: Apache-2.0
"""The page of a training: all that is known of it in one HTML file."""

from .content import Attend, Attended, PageOptions
from .write import write_page

__all__ = ['Attend', 'Attended', 'PageOptions', 'write_page']
