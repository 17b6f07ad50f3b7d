# SPDX-License-Identifier: Apache-2.0
from .dump_scores import DumpScores
from .multi_label_recognition import (
    MultiLabelRecognitionMetric,
    average_precision,
    precision_recall_f1,
)

__all__ = [
    'DumpScores',
    'MultiLabelRecognitionMetric',
    'average_precision',
    'precision_recall_f1',
]
