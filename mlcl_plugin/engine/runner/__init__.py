# SPDX-License-Identifier: Apache-2.0
from .checked_runner import CheckedRunner
from .pointers import has_begun
from .step_options import check_step_options
from .stepwise_runner import StepwiseRunner

__all__ = ['CheckedRunner', 'StepwiseRunner', 'check_step_options', 'has_begun']
