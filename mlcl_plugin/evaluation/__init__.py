# SPDX-License-Identifier: Apache-2.0
from .blend_weights import choose_weights
from .decisions import Decisions
from .embedding_quality import (
    alignment,
    retrieval_between_labels,
    retrieval_within_labels,
    uniformity,
)
from .functional import average_precision, precision_recall_f1
from .metrics import DumpScores, MultiLabelRecognitionMetric
from .score_dump import ScoreDump

__all__ = [
    'Decisions',
    'DumpScores',
    'MultiLabelRecognitionMetric',
    'ScoreDump',
    'alignment',
    'average_precision',
    'choose_weights',
    'precision_recall_f1',
    'retrieval_between_labels',
    'retrieval_within_labels',
    'uniformity',
]
