# SPDX-License-Identifier: Apache-2.0
from .coco_multi_label import CocoMultiLabel
from .transforms import (
    FastAutoContrast,
    FastBrightness,
    FastContrast,
    FastEqualize,
    FastPackInputs,
    FastRandomFlip,
    FastSolarize,
    LabelsToTargets,
    LoadImage,
    SharedMultiView,
)

__all__ = [
    'CocoMultiLabel',
    'FastAutoContrast',
    'FastBrightness',
    'FastContrast',
    'FastEqualize',
    'FastPackInputs',
    'FastRandomFlip',
    'FastSolarize',
    'LabelsToTargets',
    'LoadImage',
    'SharedMultiView',
]
