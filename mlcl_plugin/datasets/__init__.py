# SPDX-License-Identifier: Apache-2.0
from .coco_multi_label import CocoMultiLabel
from .transforms import LabelsToTargets, LoadImage

__all__ = ['CocoMultiLabel', 'LabelsToTargets', 'LoadImage']
