# SPDX-License-Identifier: Apache-2.0
from .allocator import keep_memory
from .dataloader import set_default_dataloader_cfg
from .dist import setup_cpu_distributed
from .hooks import (
    CheckpointCheckHook,
    DatasetCheckHook,
    EMACheckHook,
    MILeHook,
    PrototypeInitHook,
)
from .optimizers import AutocastOptimWrapper
from .precision import enable_amp
from .runner import CheckedRunner, StepwiseRunner, check_step_options, has_begun

__all__ = [
    'AutocastOptimWrapper',
    'CheckedRunner',
    'CheckpointCheckHook',
    'DatasetCheckHook',
    'EMACheckHook',
    'MILeHook',
    'PrototypeInitHook',
    'StepwiseRunner',
    'check_step_options',
    'enable_amp',
    'has_begun',
    'keep_memory',
    'set_default_dataloader_cfg',
    'setup_cpu_distributed',
]
