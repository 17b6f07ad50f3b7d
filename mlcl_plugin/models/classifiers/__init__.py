# SPDX-License-Identifier: Apache-2.0
from .momentum_classifier import MomentumClassifier
from .neighbour_classifier import NeighbourClassifier

__all__ = ['MomentumClassifier', 'NeighbourClassifier']
