# SPDX-License-Identifier: Apache-2.0
from .backbones import IdentityBackbone
from .classifiers import MomentumClassifier
from .heads import LabelWiseClsHead, PartialLabelHead
from .losses import (
    BinaryCrossEntropyLoss,
    EmbeddingMemory,
    LabelWiseContrastiveLoss,
    WithinLabelContrastiveLoss,
    label_wise_contrastive_loss,
    within_label_contrastive_loss,
)
from .necks import LabelAttentionNeck
from .utils import MultiViewDataPreprocessor

__all__ = [
    'BinaryCrossEntropyLoss',
    'EmbeddingMemory',
    'IdentityBackbone',
    'LabelAttentionNeck',
    'LabelWiseClsHead',
    'LabelWiseContrastiveLoss',
    'MomentumClassifier',
    'MultiViewDataPreprocessor',
    'PartialLabelHead',
    'WithinLabelContrastiveLoss',
    'label_wise_contrastive_loss',
    'within_label_contrastive_loss',
]
