# SPDX-License-Identifier: Apache-2.0
from .checked_runner import CheckedRunner
from .start import Start, find_start, run_has_begun
from .stepwise_runner import StepwiseRunner

__all__ = [
    'CheckedRunner',
    'Start',
    'StepwiseRunner',
    'find_start',
    'run_has_begun',
]
