# SPDX-License-Identifier: Apache-2.0
from .data_preprocessor import MultiViewDataPreprocessor
from .efficientnet_lite0_init import EfficientNetLite0Init
from .label_groups import labels_per_group
from .label_wise_linear import LabelWiseLinear
from .label_wise_scale import LabelWiseScale
from .projector import ContrastiveProjector
from .set_attention import MultiheadAttentionBlock, SetAttentionBlock
from .targets import collect_targets

__all__ = [
    'ContrastiveProjector',
    'EfficientNetLite0Init',
    'LabelWiseLinear',
    'LabelWiseScale',
    'MultiViewDataPreprocessor',
    'MultiheadAttentionBlock',
    'SetAttentionBlock',
    'collect_targets',
    'labels_per_group',
]
