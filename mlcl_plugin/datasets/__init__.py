# SPDX-License-Identifier: Apache-2.0
from .arrow_images import ArrowImages
from .coco_multi_label import CocoMultiLabel
from .feature_vectors import FeatureVectors
from .hide_labels import HideLabels
from .nus_wide import NUSWIDE
from .samplers import SharedLabelSampler
from .tabular_multi_label import TabularMultiLabel
from .tar_shards import TarShards
from .transforms import (
    FastAutoContrast,
    FastBrightness,
    FastContrast,
    FastEqualize,
    FastPackInputs,
    FastRandomFlip,
    FastSolarize,
    LabelsToTargets,
    LoadFeatureMap,
    LoadImage,
    SharedMultiView,
)
from .vg500 import VG500
from .voc_multi_label import VOCMultiLabel

__all__ = [
    'ArrowImages',
    'CocoMultiLabel',
    'FastAutoContrast',
    'FastBrightness',
    'FastContrast',
    'FastEqualize',
    'FastPackInputs',
    'FastRandomFlip',
    'FastSolarize',
    'FeatureVectors',
    'HideLabels',
    'LabelsToTargets',
    'LoadFeatureMap',
    'LoadImage',
    'NUSWIDE',
    'SharedLabelSampler',
    'SharedMultiView',
    'TabularMultiLabel',
    'TarShards',
    'VG500',
    'VOCMultiLabel',
]
