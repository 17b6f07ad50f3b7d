# SPDX-License-Identifier: Apache-2.0
"""Find labels that are probably wrong, and choose what to label next."""

from .find import Issues, apply_changes, find_issues

__all__ = ['Issues', 'apply_changes', 'find_issues']
