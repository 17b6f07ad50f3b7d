# SPDX-License-Identifier: Apache-2.0
from .multi_label_recognition import (
    MultiLabelRecognitionMetric,
    average_precision,
    precision_recall_f1,
)

__all__ = [
    'MultiLabelRecognitionMetric',
    'average_precision',
    'precision_recall_f1',
]
