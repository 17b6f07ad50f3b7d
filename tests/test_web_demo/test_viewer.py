# SPDX-License-Identifier: Apache-2.0
import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain import get_model

from mlcl_plugin.apis import MultiLabelInferencer, nearest_images
from mlcl_plugin.web_demo.uploads import UploadError
from mlcl_plugin.web_demo.viewer import PhotographViewer


def decode(uri):
    head, _, text = uri.partition(',')
    assert head == 'data:image/jpeg;base64'
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), 1)


def test_as_the_inferencer(viewer, tiny_coco):
    """Scores, labels, attention and neighbours are those of the Python interface."""
    path = tiny_coco / 'train/002.png'
    inferencer = viewer.inferencer
    (want,) = inferencer(path, return_scores=True)
    seen = viewer.look(path)
    rows = viewer.rows(seen)
    assert {row.name: row.score for row in rows} == want['scores']
    assert [row.score for row in rows] == sorted(want['scores'].values(), reverse=True)
    assert [r.name for r in rows if r.found] == [x['label'] for x in want['labels']]
    assert seen.maps.shape[0] == 3
    np.testing.assert_allclose(seen.maps.sum(axis=(1, 2)), 1, rtol=1e-5)
    photo = cv2.imread(str(path))
    np.testing.assert_array_equal(seen.photo, photo[..., ::-1])
    assert decode(viewer.overlay(seen, 1)).shape == seen.ground.shape
    # The memory of labels is the second one.
    want_near = nearest_images(inferencer, path, '<b>dog', 4)[1]
    near = viewer.neighbours(seen, 1, 4)
    assert viewer.memory_kind == 'label'
    assert [n.image for n in near] == [n.image for n in want_near]
    assert Path(near[0].image).name == '002.png'


def test_empty_memory(viewer, tiny_coco):
    seen = viewer.look(tiny_coco / 'train/002.png')
    assert viewer.neighbours(seen, 1)
    for memory in viewer.inferencer.model.memories:
        memory.clear()
    assert viewer.memory_kind is None and viewer.neighbours(seen, 1) == []


def test_one_threshold(viewer, tiny_coco):
    seen = viewer.look(tiny_coco / 'train/002.png')
    rows = viewer.rows(seen)
    # A score at the threshold is found; answers round it to nine digits.
    found = [row.found for row in viewer.rows(seen, rows[1].score - 1e-6)]
    assert found == [True, True, False]
    assert not any(row.found for row in viewer.rows(seen, 1.0))
    assert all(row.threshold == 0.25 for row in viewer.rows(seen, 0.25))
    assert [row.threshold for row in viewer.rows(seen)] == [0.5] * 3


def test_unreadable(viewer, tmp_path):
    path = tmp_path / 'no.jpg'
    path.write_text('no image')
    with pytest.raises(UploadError, match='cannot be read as a photograph'):
        viewer.look(path)


def test_model_that_explains_nothing(load_config, tiny_coco):
    cfg = load_config()
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=16)
    model = get_model(Config(cfg.to_dict()), pretrained=False)
    inferencer = MultiLabelInferencer(model, device='cpu', classes='numbers')
    viewer = PhotographViewer(inferencer)
    seen = viewer.look(tiny_coco / 'train/002.png')
    assert len(viewer.rows(seen)) == 3
    assert not viewer.attends and viewer.overlay(seen, 0) is None
    assert viewer.memory_kind is None and viewer.neighbours(seen, 0) == []
