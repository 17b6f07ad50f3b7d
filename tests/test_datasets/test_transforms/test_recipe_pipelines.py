# SPDX-License-Identifier: Apache-2.0
"""The pipelines of the recipes give what MMPretrain's own transforms give."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS

from mlcl_plugin.datasets import LoadImage, SharedMultiView

ROOT = Path(__file__).parents[3]
# Of images: vectors have no views.
DATASETS = sorted(
    path
    for path in (ROOT / 'configs/_base_/datasets').glob('*.py')
    if path.stem != 'yeast'
)
PIPELINES = ('train_pipeline', 'two_view_pipeline', 'test_pipeline')


@pytest.fixture(autouse=True)
def default_scope():
    """Names inside a transform are looked up as in a run."""
    init_default_scope('mmpretrain')


def stock(part):
    """A config of transforms in terms of MMPretrain, the resizing in the views."""
    if isinstance(part, dict):
        part = {key: stock(value) for key, value in part.items()}
        if isinstance(part.get('type'), str):
            names = dict(SharedMultiView='MultiView', LoadImage='LoadImageFromFile')
            name = part['type']
            part['type'] = names.get(name, name.removeprefix('Fast'))
        return part
    if not isinstance(part, (list, tuple)):
        return part
    parts = []
    for item in map(stock, part):
        multi_view = isinstance(item, dict) and item.get('type') == 'MultiView'
        if multi_view and parts[-1]['type'] == 'Resize':
            resize = parts.pop()
            item['transforms'] = [[resize, *view] for view in item['transforms']]
        parts.append(item)
    return parts


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for number, size in enumerate([(500, 375), (333, 500), (640, 480)]):
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        img = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f'{number}.jpg'), img)
    return sorted(map(str, tmp_path.glob('*.jpg')))


@pytest.mark.parametrize('name', PIPELINES)
@pytest.mark.parametrize('path', DATASETS, ids=lambda path: path.stem)
def test_same_as_stock_pipeline(path, name, photographs):
    cfg = Config.fromfile(path)[name]
    ours, theirs = Compose(cfg), Compose(stock(cfg))
    own = [part for part in ours.transforms if type(part).__module__[:4] == 'mlcl']
    assert isinstance(own[0], LoadImage) and own[-1] is ours.transforms[-1]
    own = [part for part in theirs.transforms if type(part).__module__[:4] == 'mlcl']
    assert [type(part).__name__ for part in own] in ([], ['LabelsToTargets'])
    for seed in range(9 if name != 'test_pipeline' else 3):
        item = dict(img_path=photographs[seed % 3], gt_label=[1, 3])
        np.random.seed(seed)
        got = ours(dict(item))
        drawn = np.random.rand()
        np.random.seed(seed)
        expected = theirs(dict(item))
        assert drawn == np.random.rand()
        views, their_views = got['inputs'], expected['inputs']
        if name == 'two_view_pipeline':
            assert len(views) == 2
            first, second = views
            assert not torch.equal(first, second)
        else:
            views, their_views = [views], [their_views]
        for view, their in zip(views, their_views, strict=True):
            # bytes until they are on the device
            assert view.dtype == torch.uint8
            assert torch.equal(view, their)
        assert got['data_samples'].gt_label.tolist() == [1, 3]


@pytest.mark.parametrize('path', DATASETS, ids=lambda path: path.stem)
def test_nothing_is_done_twice(path):
    """What all views have in common runs before them."""
    cfg = Config.fromfile(path).two_view_pipeline
    (views,) = (part for part in cfg if part['type'] == 'SharedMultiView')
    assert isinstance(TRANSFORMS.build(views), SharedMultiView)
    for view in views['transforms']:
        assert 'Resize' not in [part['type'] for part in view]
