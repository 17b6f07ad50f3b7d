# SPDX-License-Identifier: Apache-2.0
from .fast_color import (
    FastAutoContrast,
    FastBrightness,
    FastContrast,
    FastEqualize,
    FastSolarize,
)
from .fast_pack_inputs import FastPackInputs
from .fast_random_flip import FastRandomFlip
from .labels_to_targets import LabelsToTargets
from .load_feature_map import LoadFeatureMap
from .load_image import LoadImage
from .shared_multi_view import SharedMultiView

__all__ = [
    'FastAutoContrast',
    'FastBrightness',
    'FastContrast',
    'FastEqualize',
    'FastPackInputs',
    'FastRandomFlip',
    'FastSolarize',
    'LabelsToTargets',
    'LoadFeatureMap',
    'LoadImage',
    'SharedMultiView',
]
