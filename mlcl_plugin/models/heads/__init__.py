# SPDX-License-Identifier: Apache-2.0
from .cgmvae_head import CGMVAEHead
from .contrastive_head import ContrastiveHead
from .image_level_cls_head import ImageLevelClsHead
from .kmcl_head import KMCLHead
from .label_wise_cls_head import LabelWiseClsHead
from .partial_label_csra_head import PartialLabelCSRAHead
from .partial_label_head import PartialLabelHead
from .sadcl_head import SADCLHead

__all__ = [
    'CGMVAEHead',
    'ContrastiveHead',
    'ImageLevelClsHead',
    'KMCLHead',
    'LabelWiseClsHead',
    'PartialLabelCSRAHead',
    'PartialLabelHead',
    'SADCLHead',
]
