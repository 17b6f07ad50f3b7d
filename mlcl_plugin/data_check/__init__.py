# SPDX-License-Identifier: Apache-2.0
"""What the data sets of a config hold, and what would break a training with them."""

from .check import check_datasets
from .duplicates import duplicate_groups
from .findings import Finding
from .report import DatasetReport
from .split_report import TOP_LABELS, SplitReport
from .splits import SplitConfig, find_splits

__all__ = [
    'TOP_LABELS',
    'DatasetReport',
    'Finding',
    'SplitConfig',
    'SplitReport',
    'check_datasets',
    'duplicate_groups',
    'find_splits',
]
