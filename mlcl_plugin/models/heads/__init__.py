# SPDX-License-Identifier: Apache-2.0
from .label_wise_cls_head import LabelWiseClsHead
from .partial_label_head import PartialLabelHead

__all__ = [
    'LabelWiseClsHead',
    'PartialLabelHead',
]
