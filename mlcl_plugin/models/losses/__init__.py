# SPDX-License-Identifier: Apache-2.0
from .binary_cross_entropy_loss import BinaryCrossEntropyLoss
from .embedding_memory import EmbeddingMemory
from .label_wise_contrastive_loss import (
    LabelWiseContrastiveLoss,
    label_wise_contrastive_loss,
)
from .pairwise_logsumexp import pairwise_logsumexp
from .within_label_contrastive_loss import (
    WithinLabelContrastiveLoss,
    within_label_contrastive_loss,
)

__all__ = [
    'BinaryCrossEntropyLoss',
    'EmbeddingMemory',
    'LabelWiseContrastiveLoss',
    'WithinLabelContrastiveLoss',
    'label_wise_contrastive_loss',
    'pairwise_logsumexp',
    'within_label_contrastive_loss',
]
