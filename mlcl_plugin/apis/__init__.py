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
from ..inference.build_index import build_index, query_index
from ..inference.label_embedder import LabelEmbedder
from ..inference.label_index import LabelIndex
from ..inference.work_report import write_report
from ..labelling import (
    Choice,
    Issues,
    apply_changes,
    find_issues,
    select_images,
)
from ..tuning import Tuned, tune

__all__ = [
    'Choice',
    'Fitted',
    'Issues',
    'LabelEmbedder',
    'LabelIndex',
    'MultiLabelInferencer',
    'Tuned',
    'apply_changes',
    'build_index',
    'build_loader',
    'build_model',
    'check_datasets',
    'embed',
    'export_model',
    'extract_features',
    'find_issues',
    'fit',
    'fit_neighbours',
    'freeze_backbone',
    'measure_embeddings',
    'nearest_images',
    'query_index',
    'register_models',
    'select_images',
    'tune',
    'write_report',
]
