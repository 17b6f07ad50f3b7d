# SPDX-License-Identifier: Apache-2.0
from .build_loss import build_loss
from .check_share import check_share
from .data_preprocessor import MultiViewDataPreprocessor
from .efficientnet_lite0_init import EfficientNetLite0Init
from .label_groups import labels_per_group
from .label_wise_linear import LabelWiseLinear
from .label_wise_scale import LabelWiseScale
from .projector import ContrastiveProjector, UnitVectors
from .set_attention import MultiheadAttentionBlock, SetAttentionBlock
from .sine_position_code import sine_position_code
from .source_classes import SourceClasses
from .targets import collect_image_numbers, collect_targets
from .tokens import to_tokens
from .transformer_layer import ResidualAttention, TransformerLayer
from .vectors import to_vectors

__all__ = [
    'ContrastiveProjector',
    'EfficientNetLite0Init',
    'LabelWiseLinear',
    'LabelWiseScale',
    'MultiViewDataPreprocessor',
    'MultiheadAttentionBlock',
    'ResidualAttention',
    'SetAttentionBlock',
    'SourceClasses',
    'TransformerLayer',
    'UnitVectors',
    'build_loss',
    'check_share',
    'collect_image_numbers',
    'collect_targets',
    'labels_per_group',
    'sine_position_code',
    'to_tokens',
    'to_vectors',
]
