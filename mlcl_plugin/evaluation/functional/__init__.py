# SPDX-License-Identifier: Apache-2.0
"""Metrics as functions of scores and targets."""

from .label_rates import RATES, precision_recall_f1, weighted_rates
from .ranked_precision import average_precision, weighted_average_precision
from .recognition import recognition_metrics

__all__ = [
    'RATES',
    'average_precision',
    'precision_recall_f1',
    'recognition_metrics',
    'weighted_average_precision',
    'weighted_rates',
]
