# SPDX-License-Identifier: Apache-2.0
from .shared_label_sampler import SharedLabelSampler

__all__ = ['SharedLabelSampler']
