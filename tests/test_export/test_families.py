# SPDX-License-Identifier: Apache-2.0
"""Every method, and backbones other than ResNets, pass the export to ONNX."""

from copy import deepcopy

import pytest
from mmengine.config import Config

from mlcl_plugin.engine import base_config, step_config
from mlcl_plugin.engine.steps import step_names
from mlcl_plugin.export import export_model
from tests.test_export.conftest import NAMES, save_model
from tests.test_external_config import SWIN, VIT
from tests.test_inference.test_neighbours_of_methods import RECIPES, three_labels

CONVNEXT = dict(
    type='ConvNeXt',
    arch=dict(depths=[1, 1], channels=[8, 16]),
    out_indices=(1,),
    gap_before_final_norm=False,
)
BACKBONES = {
    'convnext': (CONVNEXT, dict(in_channels=16)),
    # The map of a tiny image is smaller than a window.
    'swin': (dict(SWIN, pad_small_map=True), dict(in_channels=64)),
    'vit_featmap': (dict(VIT, out_type='featmap'), dict(in_channels=32)),
    'vit_raw': (dict(VIT, out_type='raw'), dict(in_channels=32, num_extra_tokens=1)),
}


def check(cfg, folder, **options):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    checkpoint = save_model(cfg, folder / 'model.pth')
    exported = export_model(cfg, checkpoint, folder / 'a.onnx', 'onnx', **options)
    # What differs by more than 1e-4 is an error.
    assert exported.path.is_file()


@pytest.mark.slow
@pytest.mark.parametrize('name', RECIPES)
def test_methods(name, tiny, tmp_path):
    cfg = deepcopy(tiny[0])
    recipe = Config.fromfile(RECIPES[name])
    for step in list(step_names(recipe))[-1:]:
        recipe = step_config(recipe, step)
    cfg.model = base_config(recipe).model
    three_labels(cfg.model)
    assert cfg.model.head.num_classes == len(NAMES)
    check(cfg, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', BACKBONES)
def test_backbones(name, tiny, tmp_path):
    cfg = deepcopy(tiny[0])
    backbone, neck = BACKBONES[name]
    cfg.model.backbone = Config(dict(backbone))._cfg_dict
    cfg.model.neck.update(neck)
    check(cfg, tmp_path, attention=True)
