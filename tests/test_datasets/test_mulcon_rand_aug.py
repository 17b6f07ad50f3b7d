# SPDX-License-Identifier: Apache-2.0
"""The strengths of MulCon's RandAugment, at both image sizes."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS

FOLDER = Path(__file__).parents[2] / 'configs/_base_/datasets'
# Without strength and at full strength, as in AutoAugment.
RANGES = dict(
    Sharpness=(0, 0.9),
    Posterize=(8, 4),
    Shear=(0, 0.3),
    Translate=(0, 150 / 331),
    Rotate=(0, 30),
    FastContrast=(0, 0.9),
    ColorTransform=(0, 0.9),
    FastSolarize=(256, 0),
    FastBrightness=(0, 0.9),
)


def walk(value):
    """All dicts inside a config."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from walk(item)


@pytest.mark.parametrize('pipeline', ['train_pipeline', 'two_view_pipeline'])
@pytest.mark.parametrize('name', ['coco_mlcl_448', 'coco_mlcl_576', 'voc07_mlcl_448'])
def test_levels(name, pipeline):
    """Strengths spread over all of level 1 to level 9 of 10, and no further."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    ranges = RANGES | dict(Cutout=(0, 0.2 * cfg.img_size))
    (augment,) = (
        part for part in walk(cfg[pipeline]) if part.get('type') == 'RandAugment'
    )
    operations = list(TRANSFORMS.build(augment))
    assert len(operations) == 15
    np.random.seed(0)
    seen = set()
    for operation in operations:
        if operation.magnitude_range is None:
            continue
        kind = type(operation).__name__
        seen.add(kind)
        none, full = ranges[kind]
        drawn = np.array([operation.random_magnitude() for _ in range(500)])
        levels = 10 * (drawn - none) / (full - none)
        # pixels are rounded
        assert 0.97 < levels.min() < 1.1, kind
        assert 8.9 < levels.max() < 9.06, kind
        assert abs(levels.mean() - 5) < 0.35, kind
    assert seen == set(ranges)
