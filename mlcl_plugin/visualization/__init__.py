# SPDX-License-Identifier: Apache-2.0
from .attention_page import attention_page
from .label_attention import label_attention_maps, prediction_sheet
from .label_scores import label_scores_picture

__all__ = [
    'attention_page',
    'label_attention_maps',
    'label_scores_picture',
    'prediction_sheet',
]
