# SPDX-License-Identifier: Apache-2.0
from .checkpoint_check_hook import CheckpointCheckHook
from .dataset_check_hook import DatasetCheckHook
from .ema_check_hook import EMACheckHook
from .fill_neighbours_hook import FillNeighboursHook
from .mile_hook import MILeHook
from .prototype_init_hook import PrototypeInitHook
from .start_hook import StartHook

__all__ = [
    'CheckpointCheckHook',
    'DatasetCheckHook',
    'EMACheckHook',
    'FillNeighboursHook',
    'MILeHook',
    'PrototypeInitHook',
    'StartHook',
]
