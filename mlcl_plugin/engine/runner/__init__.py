# SPDX-License-Identifier: Apache-2.0
from .stepwise_runner import StepwiseRunner

__all__ = ['StepwiseRunner']
