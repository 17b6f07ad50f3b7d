# SPDX-License-Identifier: Apache-2.0
"""One call from photographs with labels to a model with thresholds and a report."""

from .run import Fitted, fit

__all__ = ['Fitted', 'fit']
