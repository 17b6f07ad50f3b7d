# SPDX-License-Identifier: Apache-2.0
from .data_preprocessor import MultiViewDataPreprocessor
from .efficientnet_lite0_init import EfficientNetLite0Init
from .label_wise_linear import LabelWiseLinear
from .projector import ContrastiveProjector
from .set_attention import MultiheadAttentionBlock, SetAttentionBlock
from .targets import collect_targets

__all__ = [
    'ContrastiveProjector',
    'EfficientNetLite0Init',
    'LabelWiseLinear',
    'MultiViewDataPreprocessor',
    'MultiheadAttentionBlock',
    'SetAttentionBlock',
    'collect_targets',
]
