# SPDX-License-Identifier: Apache-2.0
from .labels_to_targets import LabelsToTargets
from .load_image import LoadImage

__all__ = ['LabelsToTargets', 'LoadImage']
