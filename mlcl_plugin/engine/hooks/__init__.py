# SPDX-License-Identifier: Apache-2.0
from .dataset_check_hook import DatasetCheckHook

__all__ = ['DatasetCheckHook']
