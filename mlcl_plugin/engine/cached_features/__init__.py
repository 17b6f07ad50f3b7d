# SPDX-License-Identifier: Apache-2.0
from .declaration import CachedFeatures
from .extraction import FeatureExtraction, extract_features
from .feature_config import freeze_backbone

__all__ = ['CachedFeatures', 'FeatureExtraction', 'extract_features', 'freeze_backbone']
