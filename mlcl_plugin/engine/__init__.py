# SPDX-License-Identifier: Apache-2.0
from .dataloader import set_default_dataloader_cfg
from .dist import setup_cpu_distributed
from .hooks import DatasetCheckHook
from .optimizers import AutocastOptimWrapper
from .precision import enable_amp
from .runner import StepwiseRunner

__all__ = [
    'AutocastOptimWrapper',
    'DatasetCheckHook',
    'StepwiseRunner',
    'enable_amp',
    'set_default_dataloader_cfg',
    'setup_cpu_distributed',
]
