# SPDX-License-Identifier: Apache-2.0
from .binary_cross_entropy_loss import BinaryCrossEntropyLoss
from .embedding_memory import EmbeddingMemory
from .label_wise_contrastive_loss import (
    LabelWiseContrastiveLoss,
    label_wise_contrastive_loss,
)
from .pairwise_logsumexp import pairwise_logsumexp

__all__ = [
    'BinaryCrossEntropyLoss',
    'EmbeddingMemory',
    'LabelWiseContrastiveLoss',
    'label_wise_contrastive_loss',
    'pairwise_logsumexp',
]
