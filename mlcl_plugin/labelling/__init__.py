# SPDX-License-Identifier: Apache-2.0
"""Find labels that are probably wrong, and choose what to label next."""

from .choose import Choice, select_images
from .find import Issues, apply_changes, find_issues

__all__ = ['Choice', 'Issues', 'apply_changes', 'find_issues', 'select_images']
