# SPDX-License-Identifier: Apache-2.0
"""Files of a tiny model: what they hold, what they give, and when there are none."""

import json
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS

from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.engine.safetensors_file import write_safetensors
from mlcl_plugin.errors import CheckpointError, EngineError
from mlcl_plugin.export import agreement, export_model
from mlcl_plugin.export.file_formats import to_float16
from mlcl_plugin.inference import MultiLabelInferencer
from mlcl_plugin.runtime import ModelInfo, Runtime, read_image
from tests.test_export.conftest import DECISIONS, NAMES, save_model


@pytest.mark.parametrize('batch_size', [1, 4])
def test_labels_are_those_of_the_inferencer(onnx_folder, tiny, tiny_coco, batch_size):
    paths = sorted(map(str, (tiny_coco / 'val').iterdir()))
    inferencer = MultiLabelInferencer(*tiny, device='cpu', decisions=DECISIONS)
    expected = inferencer(paths, show_progress=False)
    got = Runtime(onnx_folder / 'model.onnx')(paths, batch_size)
    assert any(len(result['labels']) > 1 for result in expected)
    for one, two in zip(got, expected, strict=True):
        assert one['image'] == two['image']
        for a, b in zip(one['labels'], two['labels'], strict=True):
            assert (a['label'], a['threshold']) == (b['label'], b['threshold'])
            assert a['score'] == pytest.approx(b['score'], abs=1e-5)


def test_attention(onnx_folder, tiny, tiny_coco):
    path = str(tiny_coco / 'val/003.png')
    inferencer = MultiLabelInferencer(*tiny, device='cpu', thr=0.0)
    expected = inferencer(path, return_attention=True)[0]['labels']
    runtime = Runtime(onnx_folder / 'model.onnx')
    maps = runtime.run(runtime.info.prepare(read_image(path))[None])['attention'][0]
    for label in expected:
        index = NAMES.index(label['label'])
        np.testing.assert_allclose(maps[index], label['attention'], atol=1e-5)


def test_runs_without_torch(onnx_folder, tiny_coco):
    """The runtime beside the file, where torch and OpenMMLab cannot be imported."""
    image = str(tiny_coco / 'val/003.png')
    hidden = ['torch', 'mmengine', 'mmcv', 'mmpretrain', 'mlcl_plugin', 'onnx']
    script = (
        f'import sys; sys.modules.update(dict.fromkeys({hidden})); '
        'import mlcl_runtime; sys.exit(mlcl_runtime.main(sys.argv[1:]))'
    )
    command = [sys.executable, '-c', script, 'model.onnx', image, 'missing.png']
    done = subprocess.run(command, cwd=onnx_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == Runtime(onnx_folder / 'model.onnx')([image])[0]
    assert second == dict(image='missing.png', error='There is no such file.')


def test_pt2(tiny, tmp_path):
    cfg, checkpoint = tiny
    exported = export_model(cfg, checkpoint, tmp_path / 'model.pt2', 'pt2')
    assert max(exported.differences.values()) < 1e-5
    extra = {'mlcl.json': ''}
    program = torch.export.load(tmp_path / 'model.pt2', extra_files=extra)
    info = ModelInfo.from_metadata({'mlcl': extra['mlcl.json']}, 'model.pt2')
    assert info.classes == NAMES
    assert info.thresholds == [0.5] * 3
    (scores,) = program.module()(torch.zeros(5, 3, *info.size))
    assert scores.shape == (5, 3)


def test_safetensors(tiny, tmp_path):
    """It is accepted wherever a checkpoint is, and names the labels."""
    cfg, checkpoint = tiny
    path = tmp_path / 'model.safetensors'
    exported = export_model(cfg, checkpoint, path, 'safetensors', decisions=DECISIONS)
    assert max(exported.differences.values()) < 1e-5
    expected = torch.load(checkpoint, weights_only=True)['state_dict']
    content = read_checkpoint(path)
    assert content['meta']['dataset_meta']['classes'] == tuple(NAMES)
    assert set(content['state_dict']) == set(expected)
    for name, value in expected.items():
        assert torch.equal(content['state_dict'][name], value)
    assert MultiLabelInferencer(cfg, path, device='cpu').classes == tuple(NAMES)
    # load_from of a runner
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(path))
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name])
    # init_cfg of a backbone
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    backbone = MODELS.build(dict(cfg.model.backbone, init_cfg=init_cfg))
    backbone.init_weights()
    assert torch.equal(backbone.conv1.weight, expected['backbone.conv1.weight'])
    with pytest.raises(ValueError, match='labels'):
        MultiLabelInferencer(cfg, path, device='cpu', classes=NAMES[::-1])


def test_float16(tiny, tmp_path):
    """Two bytes a weight, other scores within rounding, the decisions of the file."""
    cfg, checkpoint = tiny
    whole, half = tmp_path / 'whole', tmp_path / 'half'
    export_model(cfg, checkpoint, whole, 'safetensors')
    exported = export_model(
        cfg, checkpoint, half, 'safetensors', decisions=DECISIONS, float16=True
    )
    assert 0 < exported.float16_difference < 0.01
    assert any('in float16: ' in line for line in exported.lines())
    state = read_checkpoint(half)['state_dict']
    saved = 2 * sum(x.numel() for x in state.values() if x.ndim > 1)
    assert half.stat().st_size - 200 < whole.stat().st_size - saved
    matrices = {x.dtype for x in state.values() if x.ndim > 1}
    vectors = {x.dtype for x in state.values() if x.ndim == 1}
    assert (matrices, vectors) == ({torch.float16}, {torch.float32})
    inferencer = MultiLabelInferencer(cfg, half, device='cpu')
    assert next(inferencer.model.parameters()).dtype == torch.float32
    rule = inferencer.rule.decisions
    assert rule.thresholds.tolist() == DECISIONS.thresholds.tolist()
    assert rule.temperatures.tolist() == DECISIONS.temperatures.tolist()


def test_to_float16():
    state = dict(
        matrix=torch.tensor([[0.1, -2.0]]),
        large=torch.tensor([[1e5, 1.0]]),
        vector=torch.tensor([1e-8]),
        whole=torch.ones(2, 2, dtype=torch.int8),
    )
    found = to_float16(state)
    assert found.pop('matrix').tolist() == [[pytest.approx(0.1, rel=1e-3), -2.0]]
    assert all(found[name] is state[name] for name in found) and len(found) == 3


def test_decisions_of_other_weights_are_left_out(tiny, tmp_path):
    """A model that takes a part of a file has other scores."""
    cfg, checkpoint = tiny
    export_model(cfg, checkpoint, tmp_path / 'a', 'safetensors', decisions=DECISIONS)
    content = read_checkpoint(tmp_path / 'a')
    content['state_dict']['memory'] = torch.ones(2)
    metadata = {'mlcl': content['mlcl'].to_json()}
    write_safetensors(tmp_path / 'b', content['state_dict'], metadata)
    rule = MultiLabelInferencer(cfg, tmp_path / 'b', device='cpu').rule
    assert rule.decisions.thresholds.tolist() == [0.5] * 3


def test_no_file_that_differs(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, 'TOLERANCE', -1.0)
    with pytest.raises(EngineError, match='differ from those of torch.*No file'):
        export_model(*tiny, tmp_path / 'model', 'safetensors')
    assert not list(tmp_path.iterdir())


def test_no_names_of_labels(tiny, tmp_path):
    """Neither the checkpoint nor the data set names the labels."""
    cfg = deepcopy(tiny[0])
    checkpoint = save_model(cfg, tmp_path / 'model.pth', classes=None)
    cfg.test_dataloader.dataset.ann_file = 'missing.json'
    with pytest.raises(ValueError, match='names of the labels are not known'):
        export_model(cfg, checkpoint, tmp_path / 'out', 'safetensors')


def test_no_images(tiny, tmp_path, tiny_coco):
    cfg = deepcopy(tiny[0])
    cfg.test_dataloader.dataset.ann_file = 'missing.json'
    with pytest.raises(FileNotFoundError, match=r"Name a folder.*images='FOLDER'"):
        export_model(cfg, tiny[1], tmp_path / 'out', 'safetensors')
    folder = tiny_coco / 'train'
    done = export_model(cfg, tiny[1], tmp_path / 'out', 'safetensors', images=folder)
    assert done.num_images == 8


@pytest.mark.parametrize(
    ('transform', 'message'),
    [
        (dict(type='Resize', scale=(48, 48), keep_ratio=True), 'cannot describe'),
        (dict(type='RandomFlip', prob=0.5), 'cannot describe'),
        (dict(type='ResizeEdge', scale=16, backend='pillow'), 'cannot describe'),
    ],
)
def test_pipelines_without_a_form(tiny, tmp_path, transform, message):
    cfg = deepcopy(tiny[0])
    cfg.test_dataloader.dataset.pipeline.insert(2, transform)
    with pytest.raises(ValueError, match=message):
        export_model(cfg, tiny[1], tmp_path / 'out', 'safetensors')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'transforms',
    [
        [dict(type='Resize', scale=(40, 24), interpolation='bicubic')],
        [
            dict(type='ResizeEdge', scale=37, edge='short'),
            dict(type='CenterCrop', crop_size=21),
        ],
    ],
)
def test_preparation_is_that_of_the_pipeline(tiny, tmp_path, transforms):
    """check_preparation compares every value."""
    cfg = deepcopy(tiny[0])
    cfg.test_dataloader.dataset.pipeline[2:2] = transforms
    export_model(cfg, tiny[1], tmp_path / 'out', 'safetensors')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(format='tflite'), "format must be one of .*got 'tflite'"),
        (dict(format='pt2', int8='photos'), "int8=photos needs format='onnx'"),
        (
            dict(format='pt2', with_runtime=True),
            "with_runtime=True needs format='onnx'",
        ),
        (dict(format='safetensors', attention=True), 'attention=True needs format='),
        (dict(format='onnx', float16=True), "float16=True needs format='safetensors'"),
        (dict(format='pt2', num_images=0), 'num_images must be positive'),
    ],
)
def test_options(tiny, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_model(*tiny, tmp_path / 'out', **options)


def test_files_that_exist(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no folder'):
        export_model(*tiny, tmp_path / 'folder/out', 'pt2')
    with pytest.raises(FileExistsError, match='is a folder'):
        export_model(*tiny, tmp_path, 'pt2')
    path = tmp_path / 'out'
    path.write_text('mine')
    with pytest.raises(FileExistsError, match='Set overwrite=True'):
        export_model(*tiny, path, 'safetensors')
    export_model(*tiny, path, 'safetensors', overwrite=True)
    assert read_checkpoint(path)['state_dict']


def test_weights_of_another_model(tiny, tmp_path):
    cfg, checkpoint = tiny
    path = tmp_path / 'model.safetensors'
    export_model(cfg, checkpoint, path, 'safetensors')
    other = deepcopy(cfg)
    other.model.neck.embed_dims = other.model.head.in_channels = 32
    with pytest.raises(CheckpointError, match='does not fit the model'):
        MultiLabelInferencer(other, path, device='cpu')


@pytest.mark.slow
def test_int8(tiny, tmp_path, tiny_coco):
    pytest.importorskip('onnxscript')
    exported = export_model(
        *tiny,
        tmp_path / 'model.onnx',
        'onnx',
        int8=tiny_coco / 'train',
        measure=True,
    )
    assert 0 < exported.int8_difference < 0.1
    assert exported.maps['int8'] == pytest.approx(exported.maps['float32'], abs=15)
    lines = '\n'.join(exported.lines())
    assert 'mAP of int8' in lines and 'With 8-bit numbers' in lines
    assert Runtime(tmp_path / 'model.onnx')(sorted((tiny_coco / 'val').iterdir()))
