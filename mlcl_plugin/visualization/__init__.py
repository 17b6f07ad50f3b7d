# SPDX-License-Identifier: Apache-2.0
from .label_attention import label_attention_maps, prediction_sheet

__all__ = ['label_attention_maps', 'prediction_sheet']
