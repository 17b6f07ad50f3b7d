# SPDX-License-Identifier: Apache-2.0
from .classifiers import MomentumClassifier
from .heads import LabelWiseClsHead
from .losses import (
    BinaryCrossEntropyLoss,
    EmbeddingMemory,
    LabelWiseContrastiveLoss,
    label_wise_contrastive_loss,
)
from .necks import LabelAttentionNeck
from .utils import MultiViewDataPreprocessor

__all__ = [
    'BinaryCrossEntropyLoss',
    'EmbeddingMemory',
    'LabelAttentionNeck',
    'LabelWiseClsHead',
    'LabelWiseContrastiveLoss',
    'MomentumClassifier',
    'MultiViewDataPreprocessor',
    'label_wise_contrastive_loss',
]
