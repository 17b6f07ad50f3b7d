# SPDX-License-Identifier: Apache-2.0
"""The runtime alone: its description of a model, and files that are wrong."""

import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from mmcv.transforms import CenterCrop, Resize
from mmpretrain.datasets import ResizeEdge

from mlcl_plugin import runtime
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.runtime import ModelInfo, Runtime, calibrate, read_image

INFO = ModelInfo(
    classes=['cat', 'dog', 'owl'],
    thresholds=[0.5, 0.3, 0.7],
    temperatures=None,
    topk=None,
    size=[8, 8],
    steps=[dict(step='resize', width=8, height=8, interpolation='bilinear')],
    mean=[1.0, 2.0, 3.0],
    std=[4.0, 5.0, 6.0],
    channels='rgb',
    max_pixels=1000,
    outputs=['scores'],
    made_with={},
)


def read(**changes):
    content = json.loads(INFO.to_json()) | changes
    return ModelInfo.from_metadata({'mlcl': json.dumps(content)}, 'a.onnx')


def test_json_and_back():
    assert read() == INFO


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(format_version=2), 'format_version is 2, expected 1'),
        (dict(extra=1), r"unknown are \['extra'\]"),
        (dict(classes=[]), 'classes must be different names'),
        (dict(classes=['cat', 'cat', 'owl']), 'classes must be different names'),
        (dict(classes='cat'), 'classes must be different names'),
        (dict(thresholds=[0.5]), 'thresholds must be 3 numbers'),
        (dict(thresholds=[0.5, 0.5, True]), 'thresholds must be 3 numbers'),
        (dict(temperatures=[1.0, 0.0, 1.0]), 'temperatures must be positive'),
        (dict(size=[8]), 'size must be positive integers'),
        (dict(size=[8, -8]), 'size must be positive integers'),
        (dict(topk=0), 'topk must be positive'),
        (dict(mean=None), 'mean and std must both'),
        (dict(std=[1.0, 0.0, 1.0]), 'std must not be 0'),
        (dict(channels='grb'), "channels must be 'rgb' or 'bgr'"),
        (dict(steps=[dict(step='exec', code='1')]), 'no known step'),
        (dict(steps=['resize']), 'no known step'),
        (dict(steps=[dict(step=['a'])]), 'no known step'),
        (dict(steps=[INFO.steps[0] | dict(width='8')]), 'width must be positive'),
        (
            dict(steps=[INFO.steps[0] | dict(interpolation='sinc')]),
            'unknown interpolation',
        ),
        (dict(outputs=['logits']), "outputs must have 'scores'"),
    ],
)
def test_wrong_description(changes, message):
    with pytest.raises(ValueError, match=f'The metadata of a.onnx .*{message}'):
        read(**changes)


@pytest.mark.parametrize('text', ['', '[]', '{', '[' * 100000, 'NaN'])
def test_no_description(text):
    with pytest.raises(ValueError, match='The metadata of a.onnx cannot be used'):
        ModelInfo.from_metadata({'mlcl': text}, 'a.onnx')
    with pytest.raises(ValueError, match='a.onnx does not say which labels'):
        ModelInfo.from_metadata({}, 'a.onnx')


@pytest.mark.parametrize(
    ('steps', 'transforms'),
    [
        (
            [dict(step='resize', width=40, height=24, interpolation='area')],
            [Resize(scale=(40, 24), interpolation='area')],
        ),
    ]
    + [
        (
            [
                dict(step='resize_edge', edge=edge, size=33, interpolation='bicubic'),
                dict(step='center_crop', width=21, height=18),
            ],
            [
                ResizeEdge(scale=33, edge=edge, interpolation='bicubic'),
                CenterCrop(crop_size=(21, 18)),
            ],
        )
        for edge in ('short', 'long', 'width', 'height')
    ],
)
@pytest.mark.parametrize('shape', [(50, 60), (61, 47)])
def test_steps_are_the_transforms(steps, transforms, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    results = dict(img=image, img_shape=shape)
    for transform in transforms:
        results = transform(results)
    expected = results['img']
    info = ModelInfo(
        **asdict(INFO)
        | dict(
            size=list(expected.shape[:2]),
            steps=steps,
            mean=None,
            std=None,
            channels='bgr',
        )
    )
    np.testing.assert_array_equal(
        info.prepare(image), expected.transpose(2, 0, 1).astype(np.float32)
    )


def test_normalisation():
    """A loop over the pixels, and another size."""
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    prepared = INFO.prepare(image)
    for y, x, channel in np.ndindex(8, 8, 3):
        value = image[y, x, 2 - channel] - INFO.mean[channel]
        assert prepared[channel, y, x] == pytest.approx(value / INFO.std[channel])
    info = ModelInfo(**asdict(INFO) | dict(steps=[]))
    with pytest.raises(ValueError, match='has 9 x 8 pixels .* takes 8 x 8'):
        info.prepare(np.zeros((9, 8, 3), np.uint8))


def test_decisions():
    """As Decisions, also for scores at the ends and at a threshold."""
    scores = np.array([0, 1e-30, 0.3, 0.5, 0.7, 1 - 1e-7, 1], np.float32)
    names = [str(number) for number in range(7)]
    temperatures = np.array([0.5, 2, 1, 3, 0.25, 2, 2.0])
    decisions = Decisions(names, [0.3] * 7, temperatures)
    np.testing.assert_allclose(
        calibrate(scores, temperatures), decisions.calibrate(scores), rtol=1e-12
    )
    for threshold in (0.0, 0.3, 0.7, 1.0):
        info = ModelInfo(
            **asdict(INFO) | dict(classes=names, thresholds=[threshold] * 7)
        )
        mask = Decisions.uniform(names, threshold).predict(scores)
        found = {label['label'] for label in info.decide(scores)}
        assert found == {name for name, is_found in zip(names, mask) if is_found}
    info = ModelInfo(**asdict(INFO) | dict(topk=1))
    scores = np.array([0.6, 0.6, 0.9], np.float32)
    assert info.decide(scores) == [
        dict(label='owl', score=pytest.approx(0.9), threshold=0.7)
    ]
    assert [x['label'] for x in INFO.decide(scores)] == ['owl', 'cat', 'dog']
    with pytest.raises(ValueError, match='not from 0 to 1'):
        INFO.decide(np.array([np.nan, 0, 0], np.float32))


@pytest.mark.parametrize('ending', ['.png', '.jpg', '.bmp'])
def test_images_that_are_too_large(ending, tmp_path, monkeypatch):
    """A bomb is not decoded; other forms are refused at the latest afterwards."""
    path = tmp_path / f'large{ending}'
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    assert read_image(path, 1200).shape == (30, 40, 3)
    if ending != '.bmp':
        monkeypatch.setattr(cv2, 'imdecode', None)
    with pytest.raises(ValueError, match='has 40 x 30 pixels, more than 1199'):
        read_image(path, 1199)


def test_images_that_cannot_be_read(tmp_path):
    path = tmp_path / 'a.jpg'
    with pytest.raises(FileNotFoundError, match='no such file'):
        read_image(path)
    with pytest.raises(ValueError, match='not a file'):
        read_image(tmp_path)
    for content, message in (
        (b'', 'empty'),
        (b'text', 'damaged or not an image'),
        (b'\xff\xd8\xff\xda' + bytes(9), 'incomplete'),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_image(path)


@pytest.fixture
def write_graph(tmp_path):
    """Function that writes an ONNX file of a mean over places, with metadata."""
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')

    def write(metadata, size=8, outputs='scores', num_scores=3):
        image = onnx.helper.make_tensor_value_info(
            'images', onnx.TensorProto.FLOAT, ['batch', 3, size, size]
        )
        scores = onnx.helper.make_tensor_value_info(
            outputs, onnx.TensorProto.FLOAT, ['batch', num_scores]
        )
        nodes = [
            onnx.helper.make_node('GlobalAveragePool', ['images'], ['pooled']),
            onnx.helper.make_node('Flatten', ['pooled'], ['flat']),
            onnx.helper.make_node('Sigmoid', ['flat'], [outputs]),
        ]
        graph = onnx.helper.make_graph(nodes, 'graph', [image], [scores])
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=10
        )
        onnx.helper.set_model_props(model, metadata)
        path = tmp_path / 'model.onnx'
        onnx.save(model, path)
        return path

    return write


def test_run(write_graph, tmp_path, capsys):
    import cv2

    path = write_graph({'mlcl': INFO.to_json()})
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    values = INFO.prepare(image).mean((1, 2), dtype=np.float64)
    expected = INFO.decide((1 / (1 + np.exp(-values))).astype(np.float32))
    results = Runtime(path)([image, tmp_path / 'a.png', tmp_path / 'b.png'], 2)
    assert [result['image'] for result in results] == [
        'array 0',
        str(tmp_path / 'a.png'),
        str(tmp_path / 'b.png'),
    ]
    for result in results[:2]:
        assert result['labels'] == [
            label | dict(score=pytest.approx(label['score'], abs=1e-6))
            for label in expected
        ]
    assert 'no such file' in results[2]['error']
    assert runtime.main([str(path), str(tmp_path / 'a.png')]) == 0
    assert json.loads(capsys.readouterr().out) == results[1]
    assert runtime.main([str(path), str(tmp_path / 'b.png')]) == 1
    assert runtime.main([str(tmp_path / 'no.onnx'), 'a']) == 2
    with pytest.raises(ValueError, match='batch_size must be positive'):
        Runtime(path)([image], 0)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(metadata={}), 'does not say which labels'),
        (dict(size=9), r'takes .*9, 9.* but its metadata is of a model of images'),
        (dict(outputs='logits'), r"gives \['logits'\], but its metadata says"),
    ],
)
def test_files_of_other_models(write_graph, options, message):
    path = write_graph(**(dict(metadata={'mlcl': INFO.to_json()}) | options))
    with pytest.raises(ValueError, match=message):
        Runtime(path)


def test_other_number_of_labels(write_graph):
    info = ModelInfo(**asdict(INFO) | dict(classes=['a'], thresholds=[0.5]))
    path = write_graph({'mlcl': info.to_json()})
    with pytest.raises(ValueError, match='gives 3 scores, .* names 1 labels'):
        Runtime(path)


@pytest.mark.parametrize('content', [b'', b'text', b'\x08\x0a' * 1000, bytes(100)])
def test_hostile_files(tmp_path, content):
    pytest.importorskip('onnxruntime')
    path = tmp_path / 'model.onnx'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='model.onnx'):
        Runtime(path)
    with pytest.raises(FileNotFoundError, match='There is no file'):
        Runtime(tmp_path / 'none.onnx')


def test_data_outside_of_the_file(write_graph, tmp_path, monkeypatch):
    """A file cannot make ONNX Runtime read another file."""
    onnx = pytest.importorskip('onnx')
    path = write_graph({'mlcl': INFO.to_json()})
    model = onnx.load(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'secret').write_bytes(bytes(12))
    tensor = onnx.TensorProto(name='added', data_type=1, dims=[1, 3])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (('location', 'secret'), ('length', '12')):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    model.graph.node[-1].input[0] = 'sum'
    node = onnx.helper.make_node('Add', ['flat', 'added'], ['sum'])
    model.graph.node.insert(2, node)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match='cannot be read as an ONNX model'):
        Runtime(path)
