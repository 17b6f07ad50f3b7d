# SPDX-License-Identifier: Apache-2.0
from .checked_runner import CheckedRunner
from .feature_training import CachedFeaturesRunner
from .start import Start, find_start, run_has_begun
from .stepwise_runner import StepwiseRunner

__all__ = [
    'CachedFeaturesRunner',
    'CheckedRunner',
    'Start',
    'StepwiseRunner',
    'find_start',
    'run_has_begun',
]
