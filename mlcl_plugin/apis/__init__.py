# SPDX-License-Identifier: Apache-2.0
from ..data_check import check_datasets
from .build_model import build_model
from .frozen_backbone import extract_features, freeze_backbone
from .label_embeddings import build_loader, embed, measure_embeddings
from .model_index import register_models
from .multi_label_inferencer import MultiLabelInferencer

__all__ = [
    'MultiLabelInferencer',
    'build_loader',
    'build_model',
    'check_datasets',
    'embed',
    'extract_features',
    'freeze_backbone',
    'measure_embeddings',
    'register_models',
]
