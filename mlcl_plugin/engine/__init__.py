# SPDX-License-Identifier: Apache-2.0
from .allocator import keep_memory
from . import checkpoint_loaders  # noqa: F401, registers the loaders
from .checkpoint_file import check_checkpoint
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
from .runner import CheckedRunner, StepwiseRunner, has_begun
from .steps import (
    base_config,
    changes_everywhere,
    check_step_options,
    innermost_dataset,
    step_config,
    step_names,
)

__all__ = [
    'AutocastOptimWrapper',
    'CheckedRunner',
    'CheckpointCheckHook',
    'DatasetCheckHook',
    'EMACheckHook',
    'MILeHook',
    'PrototypeInitHook',
    'StepwiseRunner',
    'base_config',
    'changes_everywhere',
    'check_checkpoint',
    'check_step_options',
    'enable_amp',
    'has_begun',
    'innermost_dataset',
    'keep_memory',
    'set_default_dataloader_cfg',
    'setup_cpu_distributed',
    'step_config',
    'step_names',
]
