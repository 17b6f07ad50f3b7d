# SPDX-License-Identifier: Apache-2.0
"""Inference by ONNX Runtime gives what torch gives."""

import shutil

import numpy as np
import pytest

from mlcl_plugin.engine import onnx_module
from mlcl_plugin.errors import EngineError
from mlcl_plugin.inference import MultiLabelInferencer, onnx_engine
from mlcl_plugin.inference.made_with import describe_change, made_with


@pytest.fixture
def quick(onnx_folder, monkeypatch):
    """Take the file that was exported before, since the export takes seconds."""
    monkeypatch.setattr(
        onnx_module,
        'write_onnx',
        lambda module, images, path, outputs: shutil.copyfile(
            onnx_folder / 'model.onnx', path
        ),
    )


def test_results_are_those_of_torch(tiny, tiny_coco, quick):
    options = dict(return_scores=True, return_attention=True, show_progress=False)
    torch, onnx = (
        MultiLabelInferencer(*tiny, device='cpu', engine=engine)
        for engine in ('torch', 'onnxruntime')
    )
    assert 'engine' in describe_change(made_with(torch), made_with(onnx))
    for size in (1, 3):
        expected = torch(tiny_coco / 'val', batch_size=size, **options)
        got = onnx(tiny_coco / 'val', batch_size=size, **options)
        for one, two in zip(got, expected, strict=True):
            assert [x['label'] for x in one['labels']] == [
                x['label'] for x in two['labels']
            ]
            np.testing.assert_allclose(
                list(one['scores'].values()), list(two['scores'].values()), atol=1e-6
            )
            for a, b in zip(one['labels'], two['labels']):
                np.testing.assert_allclose(a['attention'], b['attention'], atol=1e-5)


@pytest.mark.slow
def test_export(tiny, tiny_coco):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    results = [
        MultiLabelInferencer(*tiny, device='cpu', engine=engine)(tiny_coco / 'val')
        for engine in ('torch', 'onnxruntime')
    ]
    for one, two in zip(*results, strict=True):
        assert [x['label'] for x in one['labels']] == [
            x['label'] for x in two['labels']
        ]


def test_another_result(tiny, tiny_coco, quick, monkeypatch):
    monkeypatch.setattr(onnx_module, 'TOLERANCE', -1.0)
    inferencer = MultiLabelInferencer(*tiny, device='cpu', engine='onnxruntime')
    with pytest.raises(EngineError, match="differ by .* Set engine='torch'"):
        inferencer(tiny_coco / 'val', show_progress=False)


def test_many_sizes(tiny, quick, monkeypatch):
    monkeypatch.setattr(onnx_engine, 'MAX_SIZES', 0)
    inferencer = MultiLabelInferencer(*tiny, device='cpu', engine='onnxruntime')
    with pytest.raises(EngineError, match='at most 0 sizes'):
        inferencer(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(engine='tensorrt'), "engine must be one of .* got 'tensorrt'"),
        (
            dict(engine='onnxruntime', precision='bfloat16'),
            'float32 on the CPU, got precision=bfloat16',
        ),
    ],
)
def test_wrong_options(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelInferencer(*tiny, device='cpu', **options)
