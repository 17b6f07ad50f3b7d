# SPDX-License-Identifier: Apache-2.0
"""From trained models to answers: labels of images, embeddings, stored features.

:mod:`attention_sheet` needs matplotlib and is left to be imported by who uses it.
"""

from ..engine import extract_features, freeze_backbone, register_models
from .attention_images_hook import AttentionImagesHook
from .build_model import build_model
from .config import load_model_config
from .embedding_measures import measure_embeddings
from .fit_neighbours import fit_neighbours
from .inferencer import MultiLabelInferencer
from .label_embeddings import embed
from .nearest_images import nearest_images
from .split_images import build_loader

__all__ = [
    'AttentionImagesHook',
    'MultiLabelInferencer',
    'build_loader',
    'build_model',
    'embed',
    'extract_features',
    'fit_neighbours',
    'freeze_backbone',
    'load_model_config',
    'measure_embeddings',
    'nearest_images',
    'register_models',
]
