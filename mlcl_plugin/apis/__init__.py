# SPDX-License-Identifier: Apache-2.0
from .build_model import build_model
from .frozen_backbone import extract_features, freeze_backbone
from .model_index import register_models

__all__ = ['build_model', 'extract_features', 'freeze_backbone', 'register_models']
