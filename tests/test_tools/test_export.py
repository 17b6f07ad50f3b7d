# SPDX-License-Identifier: Apache-2.0
"""The command line of the export."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mlcl_plugin.engine import base_config
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.runtime import ModelInfo
from tests.conftest import tiny_config

TOOL = Path(__file__).parents[2] / 'tools/export.py'
spec = importlib.util.spec_from_file_location('tools_export', TOOL)
export = importlib.util.module_from_spec(spec)
spec.loader.exec_module(export)
NAMES = ['cat', 'dog', 'owl']


@pytest.fixture
def files(tiny_coco, tmp_path):
    """A config file and a checkpoint."""
    cfg = base_config(Config(tiny_config(tiny_coco)))
    cfg.default_scope = 'mmpretrain'
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    meta = dict(dataset_meta=dict(classes=NAMES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'model.pth')
    cfg.dump(tmp_path / 'config.py')
    return [str(tmp_path / 'config.py'), str(tmp_path / 'model.pth')]


def test_file(files, tmp_path, capsys):
    Decisions(NAMES, [0.1, 0.2, 0.3]).save(tmp_path / 'decisions.json')
    out = tmp_path / 'model.safetensors'
    options = ['--format', 'safetensors', '--decisions', f'{tmp_path}/decisions.json']
    assert export.main([*files, str(out), *options]) == 0
    printed = capsys.readouterr().out
    assert 'Largest difference of a score to torch on 7 images' in printed
    assert f'Wrote {out}' in printed
    from safetensors import safe_open

    with safe_open(out, 'pt') as file:
        info = ModelInfo.from_metadata(file.metadata(), str(out))
        config = Config.fromstring(file.metadata()['config'], '.py')
    assert info.thresholds == [0.1, 0.2, 0.3]
    assert config.model.head.type == 'LabelWiseClsHead'


def test_errors(files, tmp_path, ends_with_line):
    out = str(tmp_path / 'out')
    with ends_with_line('^export: --int8 photos needs --format onnx, got'):
        export.main([*files, out, '--format', 'pt2', '--int8', 'photos'])
    with ends_with_line('^export: Checkpoint missing.pth does not exist'):
        export.main([files[0], 'missing.pth', out, '--format', 'pt2'])
    Path(out).write_text('mine')
    with ends_with_line('exists. Set --overwrite to replace it'):
        export.main([*files, out, '--format', 'pt2'])
    Path(out).unlink()
    options = ['--cfg-options', 'test_dataloader.dataset.ann_file=missing.json']
    with ends_with_line('Name a folder of photographs: --images FOLDER'):
        export.main([*files, out, '--format', 'safetensors', *options])
