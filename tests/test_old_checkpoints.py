# SPDX-License-Identifier: Apache-2.0
"""Weights that version 0.1.0 has saved load into the models of today.

``tests/data/checkpoints_0_1_0.pt`` was made by version 0.1.0 (commit 2ecacea): for each
of five small models with random weights the config, the state dict, and the logits of
the images below.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

import mlcl_plugin  # noqa: F401, registers its modules

PATH = Path(__file__).parent / 'data/checkpoints_0_1_0.pt'
MODELS_OF_0_1_0 = ['label_wise', 'contrast', 'momentum', 'sadcl', 'image_level']


@pytest.fixture(scope='module')
def saved():
    init_default_scope('mmpretrain')
    content = torch.load(PATH, weights_only=True)['models']
    assert list(content) == MODELS_OF_0_1_0
    return content


def logits_of(model):
    images = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
    model.eval()
    with torch.no_grad():
        return model.head(model.extract_feat(images))


@pytest.mark.parametrize('name', MODELS_OF_0_1_0)
def test_loads_into_the_same_model(saved, name):
    model = MODELS.build(ConfigDict(saved[name]['config']))
    model.load_state_dict(saved[name]['state_dict'], strict=True)
    torch.testing.assert_close(logits_of(model), saved[name]['logits'])
    for key, value in model.state_dict().items():
        assert torch.equal(value, saved[name]['state_dict'][key]), key


@pytest.mark.parametrize('name', ['contrast', 'sadcl', 'image_level'])
def test_loads_into_the_model_without_contrast(saved, name):
    """Projector, prototypes and memories are left out."""
    config = ConfigDict(saved[name]['config'])
    config.head.loss_contrastive = None
    if name == 'sadcl':
        config.head = ConfigDict(type='LabelWiseClsHead', num_classes=3, in_channels=4)
    model = MODELS.build(config)
    model.load_state_dict(saved[name]['state_dict'], strict=True)
    torch.testing.assert_close(logits_of(model), saved[name]['logits'])
    assert not [key for key in model.state_dict() if 'projector' in key]
