# SPDX-License-Identifier: Apache-2.0
"""Which engine computes features, and that its features are torch's."""

import json

import numpy as np
import pytest
import torch

from mlcl_plugin.engine import FeatureExtraction, extract_features, onnx_module
from mlcl_plugin.engine.cached_features import extraction
from mlcl_plugin.errors import EngineError


@pytest.fixture
def many(monkeypatch):
    """Let few images be enough for ONNX Runtime."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    monkeypatch.setattr(extraction, 'FOLD_FROM', 1)


def engine_of(folder):
    return json.loads((folder / 'train.json').read_text())['settings']['engine']


def test_features_are_those_of_torch(load_config, tmp_path, many):
    cfg = load_config()
    extract_features(cfg, tmp_path / 'torch', 2, engine='torch')
    extract_features(cfg, tmp_path / 'auto', 2)
    assert engine_of(tmp_path / 'torch') == 'torch'
    assert engine_of(tmp_path / 'auto') == 'onnxruntime'
    for name in ('train.npy', 'tune.npy', 'val.npy'):
        expected = np.load(tmp_path / 'torch' / name).astype(np.float32)
        got = np.load(tmp_path / 'auto' / name).astype(np.float32)
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize('engine', ['torch', 'onnxruntime'])
def test_fast_backbone(load_config, many, engine):
    """It gives the last features of the backbone, for batches of any size."""
    cfg = load_config()
    made = FeatureExtraction(cfg, 1, engine=engine, device='cpu')
    fast = made.fast_backbone()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = made.backbone(images)[-1]
    for number in (3, 1):
        (maps,) = fast(images[:number])
        torch.testing.assert_close(maps, expected[:number], rtol=1e-4, atol=1e-5)


def test_features_that_exist_are_used(load_config, tmp_path, many):
    cfg = load_config()
    of_torch = FeatureExtraction(cfg, 2, engine='torch')
    of_torch.run(tmp_path / of_torch.fingerprint)
    auto = FeatureExtraction(cfg, 2)
    assert auto.engine == 'onnxruntime'
    assert auto.fingerprint != of_torch.fingerprint
    auto.choose_engine(lambda fingerprint: tmp_path / fingerprint)
    assert auto.engine == 'torch'
    assert auto.fingerprint == of_torch.fingerprint


def test_features_of_older_versions(load_config, tmp_path):
    """They do not name the engine: it was torch."""
    extract_features(load_config(), tmp_path, 2, engine='torch')
    for path in tmp_path.glob('*.json'):
        content = json.loads(path.read_text())
        del content['settings']['engine']
        path.write_text(json.dumps(content))
    extract_features(load_config(), tmp_path, 2)


def test_other_results(load_config, tmp_path, many, monkeypatch):
    monkeypatch.setattr(onnx_module, 'TOLERANCE', -1.0)
    with pytest.raises(EngineError, match='ONNX Runtime and torch differ by'):
        extract_features(load_config(), tmp_path / 'onnx', 2, engine='onnxruntime')


def test_few_images(load_config):
    assert FeatureExtraction(load_config(), 2).engine == 'torch'


def test_the_device_that_is_named(load_config, tmp_path, many, monkeypatch):
    # A GPU would be found, but is not asked for.
    monkeypatch.setattr(extraction, 'get_device', lambda: 'cuda')
    cfg = load_config()
    assert FeatureExtraction(cfg, 1).engine == 'torch'
    named = FeatureExtraction(cfg, 1, engine='torch', device='cpu')
    named.run(tmp_path)
    assert engine_of(tmp_path) == 'torch'
    assert FeatureExtraction(cfg, 1, device='cpu').engine == 'onnxruntime'


def test_images_go_to_the_device(load_config):
    """The preprocessor moves them, and must know where to."""
    features = FeatureExtraction(load_config(), 1, device='meta').fast_backbone()
    assert features.features.preprocessor.device == torch.device('meta')


def test_not_installed(load_config, monkeypatch):
    monkeypatch.setattr(extraction, 'missing_packages', lambda: ['onnxruntime'])
    monkeypatch.setattr(extraction, 'FOLD_FROM', 1)
    assert FeatureExtraction(load_config(), 2).engine == 'torch'


def test_unknown_engine(load_config):
    with pytest.raises(ValueError, match="engine must be one of .*got 'tensorrt'"):
        FeatureExtraction(load_config(), 2, engine='tensorrt')


def test_a_network_that_cannot_be_exported(load_config, tmp_path, many, monkeypatch):
    class Branch(torch.nn.Module):
        def forward(self, images):
            return (images if images.sum() > 0 else -images,)

    cfg = load_config()
    wrong = FeatureExtraction(cfg, 2)
    wrong.backbone = Branch()
    wrong.run(tmp_path)
    assert engine_of(tmp_path) == 'torch'
