# SPDX-License-Identifier: Apache-2.0
"""A tiny model with weights, and the files that it is exported to."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mlcl_plugin.engine import base_config
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.export import export_model
from tests.conftest import CATEGORIES, tiny_config

NAMES = list(CATEGORIES.values())
DECISIONS = Decisions(NAMES, [0.3, 0.55, 0.6], [2.0, 1.0, 0.5])


def save_model(cfg, path, classes=NAMES):
    """Save weights that are not those of the start, with names of the labels."""
    torch.manual_seed(1)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
        for name, value in model.named_buffers():
            if name.endswith('running_mean'):
                value.normal_(std=0.1)
            elif name.endswith('running_var'):
                value.uniform_(0.5, 1.5)
    meta = {} if classes is None else dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


@pytest.fixture(scope='session')
def tiny(tiny_coco, tmp_path_factory):
    """A config without steps and its checkpoint. Tests must not change them."""
    cfg = base_config(Config(tiny_config(tiny_coco)))
    cfg.default_scope = 'mmpretrain'
    folder = tmp_path_factory.mktemp('tiny')
    return cfg, save_model(cfg, folder / 'model.pth')


@pytest.fixture(scope='session')
def onnx_folder(tiny, tmp_path_factory):
    """A folder with ``model.onnx``, with attention and decisions, and the runtime."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    folder = tmp_path_factory.mktemp('onnx')
    exported = export_model(
        *tiny,
        folder / 'model.onnx',
        'onnx',
        decisions=DECISIONS,
        attention=True,
        with_runtime=True,
    )
    assert exported.num_images == 7
    assert list(exported.differences) == [1, 3, 7]
    assert max(exported.differences.values()) < 1e-5
    # No temporary file stays.
    assert sorted(path.name for path in folder.iterdir()) == [
        'mlcl_runtime.py',
        'model.onnx',
    ]
    return folder
