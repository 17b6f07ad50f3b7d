# SPDX-License-Identifier: Apache-2.0
from .binary_cross_entropy_loss import BinaryCrossEntropyLoss
from .label_wise_contrastive_loss import (
    LabelWiseContrastiveLoss,
    label_wise_contrastive_loss,
)

__all__ = [
    'BinaryCrossEntropyLoss',
    'LabelWiseContrastiveLoss',
    'label_wise_contrastive_loss',
]
