# SPDX-License-Identifier: Apache-2.0
"""The public functions and classes; this package only re-exports them."""

from ..data_check import check_datasets
from ..export import export_model
from ..fit import Fitted, fit
from ..inference import (
    MultiLabelInferencer,
    build_loader,
    build_model,
    embed,
    extract_features,
    fit_neighbours,
    freeze_backbone,
    measure_embeddings,
    nearest_images,
    register_models,
)
from ..inference.work_report import write_report

__all__ = [
    'Fitted',
    'MultiLabelInferencer',
    'build_loader',
    'build_model',
    'check_datasets',
    'embed',
    'export_model',
    'extract_features',
    'fit',
    'fit_neighbours',
    'freeze_backbone',
    'measure_embeddings',
    'nearest_images',
    'register_models',
    'write_report',
]
