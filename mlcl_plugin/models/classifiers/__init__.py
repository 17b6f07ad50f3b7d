# SPDX-License-Identifier: Apache-2.0
from .momentum_classifier import MomentumClassifier

__all__ = ['MomentumClassifier']
