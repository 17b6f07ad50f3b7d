# SPDX-License-Identifier: Apache-2.0
from .global_max_pooling import GlobalMaxPooling
from .label_attention import LabelAttentionNeck
from .label_neck import LabelNeck
from .label_query_decoder import LabelQueryDecoder
from .ml_decoder import MLDecoderNeck

__all__ = [
    'GlobalMaxPooling',
    'LabelAttentionNeck',
    'LabelNeck',
    'LabelQueryDecoder',
    'MLDecoderNeck',
]
