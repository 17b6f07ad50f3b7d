# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model

from mlcl_plugin.apis import MultiLabelInferencer, fit_neighbours, nearest_images


@pytest.fixture
def inferencer(load_config, tmp_path):
    """Of a model with random weights, with a memory of each kind."""
    cfg = load_config()
    torch.manual_seed(0)
    model = get_model(cfg.copy(), pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'owl')))
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    kinds = [dict(type='LabelNeighbours'), dict(type='ImageNeighbours')]
    fitted = fit_neighbours(cfg, path, neighbours=kinds, device='cpu')
    return MultiLabelInferencer(fitted.config, fitted.checkpoint, 'cpu')


@pytest.mark.parametrize('as_array', [False, True])
def test_training_image_finds_itself(inferencer, tiny_coco, as_array):
    # Image n has the labels that are the bits of n + 1.
    path = tiny_coco / 'train/002.png'
    image = cv2.imread(str(path)) if as_array else path
    for label, others in (('cat', {0, 4, 6}), ('dog', {1, 5, 6})):
        for memory in nearest_images(inferencer, image, label, 9):
            names = [Path(neighbour.image).name for neighbour in memory]
            assert names[0] == '002.png'
            assert set(names[1:]) == {f'{number:03}.png' for number in others}
    against = nearest_images(inferencer, image, 'owl', 1, present=False)
    for memory in against:
        assert Path(memory[0].image).name == '002.png' and not memory[0].present


def test_errors(inferencer, tiny_coco, tmp_path):
    path = tiny_coco / 'train/002.png'
    with pytest.raises(ValueError, match=r"no label 'bat', expected one of \['cat'"):
        nearest_images(inferencer, path, 'bat')
    (tmp_path / 'broken.png').write_text('no image')
    with pytest.raises(ValueError, match=r'broken\.png: '):
        nearest_images(inferencer, tmp_path / 'broken.png', 'dog')


def test_model_without_neighbours(load_config, tmp_path, tiny_coco):
    cfg = load_config()
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = get_model(Config(cfg.to_dict()), pretrained=False)
    inferencer = MultiLabelInferencer(model, device='cpu', classes='numbers')
    with pytest.raises(ValueError, match='is ImageClassifier and has no neighbours'):
        nearest_images(inferencer, tiny_coco / 'train/002.png', '0')
