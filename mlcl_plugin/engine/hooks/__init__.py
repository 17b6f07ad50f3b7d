# SPDX-License-Identifier: Apache-2.0
from .auto_ema_hook import AutoEMAHook
from .average_statistics_hook import AverageStatisticsHook
from .checkpoint_check_hook import CheckpointCheckHook
from .dataset_check_hook import DatasetCheckHook
from .durable_checkpoint_hook import DurableCheckpointHook
from .ema_check_hook import EMACheckHook
from .epoch_position_hook import EpochPositionHook
from .eval_mode_hook import EvalModeHook
from .fill_neighbours_hook import FillNeighboursHook
from .label_counts_hook import LabelCountsHook
from .labels_by_name_hook import LabelsByNameHook
from .loaded_checkpoint_hook import LoadedCheckpointHook
from .mile_hook import MILeHook
from .non_finite_hook import NonFiniteHook
from .pending_validation_hook import PendingValidationHook
from .prototype_init_hook import PrototypeInitHook
from .start_hook import StartHook
from .stored_backbone_hook import StoredBackboneHook

__all__ = [
    'AutoEMAHook',
    'AverageStatisticsHook',
    'CheckpointCheckHook',
    'DatasetCheckHook',
    'DurableCheckpointHook',
    'EMACheckHook',
    'EpochPositionHook',
    'EvalModeHook',
    'FillNeighboursHook',
    'LabelCountsHook',
    'LabelsByNameHook',
    'LoadedCheckpointHook',
    'MILeHook',
    'NonFiniteHook',
    'PendingValidationHook',
    'PrototypeInitHook',
    'StartHook',
    'StoredBackboneHook',
]
