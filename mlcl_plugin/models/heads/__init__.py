# SPDX-License-Identifier: Apache-2.0
from .label_wise_cls_head import LabelWiseClsHead

__all__ = ['LabelWiseClsHead']
