# SPDX-License-Identifier: Apache-2.0
from .label_attention import LabelAttentionNeck

__all__ = ['LabelAttentionNeck']
