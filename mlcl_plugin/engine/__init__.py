# SPDX-License-Identifier: Apache-2.0
from .allocator import keep_memory
from .cached_features import (
    CachedFeatures,
    FeatureExtraction,
    extract_features,
    freeze_backbone,
)
from .checkpoint_file import check_checkpoint
from .checkpoint_fit import fit_checkpoint
from .checkpoint_loaders import allow_unsafe_checkpoints
from .dataloader import set_default_dataloader_cfg
from .dist import setup_cpu_distributed
from .hooks import (
    AutoEMAHook,
    CheckpointCheckHook,
    DatasetCheckHook,
    EMACheckHook,
    EvalModeHook,
    FillNeighboursHook,
    LabelsByNameHook,
    MILeHook,
    PrototypeInitHook,
    StartHook,
)
from .launcher import check_restart, end_with_launcher
from .mlflow_backend import MLflowStepsVisBackend
from .model_index import register_models
from .neighbour_filling import fill_neighbours, iterate_images, save_filled
from .optimizers import AutocastOptimWrapper
from .pointers import has_begun
from .precision import enable_amp
from .pretrained_init import CheckedPretrainedInit
from .runner import (
    CachedFeaturesRunner,
    CheckedRunner,
    Start,
    StepwiseRunner,
    find_start,
    run_has_begun,
)
from .split_dataset import build_split
from .steps import (
    base_config,
    changes_everywhere,
    check_step_options,
    check_steps,
    end_after,
    innermost_dataset,
    step_changes,
    step_config,
    step_dir,
    step_names,
)
from .tool_config import (
    build_runner,
    check_config,
    load_config,
    load_step_config,
    merge_options,
    set_resume,
    set_work_dir,
    skip_validation,
)
from .unwrap import unwrap_model

__all__ = [
    'AutoEMAHook',
    'AutocastOptimWrapper',
    'CachedFeatures',
    'CachedFeaturesRunner',
    'CheckedPretrainedInit',
    'CheckedRunner',
    'CheckpointCheckHook',
    'DatasetCheckHook',
    'EMACheckHook',
    'EvalModeHook',
    'FeatureExtraction',
    'FillNeighboursHook',
    'LabelsByNameHook',
    'MILeHook',
    'MLflowStepsVisBackend',
    'PrototypeInitHook',
    'Start',
    'StartHook',
    'StepwiseRunner',
    'allow_unsafe_checkpoints',
    'base_config',
    'build_runner',
    'check_config',
    'build_split',
    'changes_everywhere',
    'check_checkpoint',
    'check_restart',
    'check_step_options',
    'check_steps',
    'enable_amp',
    'end_after',
    'end_with_launcher',
    'extract_features',
    'fill_neighbours',
    'find_start',
    'fit_checkpoint',
    'freeze_backbone',
    'has_begun',
    'innermost_dataset',
    'iterate_images',
    'keep_memory',
    'load_config',
    'load_step_config',
    'merge_options',
    'register_models',
    'run_has_begun',
    'save_filled',
    'set_default_dataloader_cfg',
    'set_resume',
    'set_work_dir',
    'setup_cpu_distributed',
    'skip_validation',
    'step_changes',
    'step_config',
    'step_dir',
    'step_names',
    'unwrap_model',
]
