# SPDX-License-Identifier: Apache-2.0
from .embedding_quality import (
    alignment,
    retrieval_between_labels,
    retrieval_within_labels,
    uniformity,
)
from .metrics import (
    MultiLabelRecognitionMetric,
    average_precision,
    precision_recall_f1,
)

__all__ = [
    'MultiLabelRecognitionMetric',
    'alignment',
    'average_precision',
    'precision_recall_f1',
    'retrieval_between_labels',
    'retrieval_within_labels',
    'uniformity',
]
