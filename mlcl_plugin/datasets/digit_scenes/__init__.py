# SPDX-License-Identifier: Apache-2.0
"""Scenes of real handwritten digits, a multi-label dataset that needs no download.

Each scene shows a few of scikit-learn's bundled 8x8 scans of handwritten digits
(``sklearn.datasets.load_digits``) in random size, colour, slant and place, on a smooth
background with distractors. No scan is in both training and validation scenes.
``CocoMultiLabel`` reads the result: ::

    OUT_DIR
    ├── annotations
    │   ├── instances_train.json
    │   └── instances_val.json
    ├── train
    │   ├── 000001.png
    │   └── ...
    └── val
        └── ...
"""

from .folder import find_scenes, write_scenes
from .scenes import SceneOptions, make_scene, split_scans

__all__ = [
    'SceneOptions',
    'find_scenes',
    'make_scene',
    'split_scans',
    'write_scenes',
]
