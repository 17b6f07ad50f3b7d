# SPDX-License-Identifier: Apache-2.0
from .autocast_optim_wrapper import AutocastOptimWrapper

__all__ = ['AutocastOptimWrapper']
