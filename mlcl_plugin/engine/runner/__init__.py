# SPDX-License-Identifier: Apache-2.0
from .checked_runner import CheckedRunner
from .pointers import has_begun
from .stepwise_runner import StepwiseRunner

__all__ = ['CheckedRunner', 'StepwiseRunner', 'has_begun']
