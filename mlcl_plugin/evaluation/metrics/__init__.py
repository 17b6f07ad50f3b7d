# SPDX-License-Identifier: Apache-2.0
from .dump_scores import DumpScores
from .multi_label_recognition import MultiLabelRecognitionMetric

__all__ = ['DumpScores', 'MultiLabelRecognitionMetric']
