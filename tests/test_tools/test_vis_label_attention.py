# SPDX-License-Identifier: Apache-2.0
import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.visualization import prediction_sheet

PATH = Path(__file__).parents[2] / 'tools/visualizations/vis_label_attention.py'
spec = importlib.util.spec_from_file_location('tools_vis_label_attention', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def config(write_config):
    return write_config()


@pytest.fixture
def checkpoint(config, tmp_path):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    # As training with contrast leaves it, with a projector.
    state = model.state_dict() | {'head.projector.fc1.weight': torch.zeros(2, 2)}
    torch.save(dict(state_dict=state), tmp_path / 'model.pth')
    return tmp_path / 'model.pth'


@pytest.fixture
def vis(config, checkpoint, tmp_path, monkeypatch):
    """Function that calls the tool and gives what it draws, and the picture."""
    drawn = []
    sheet = prediction_sheet

    def record(*args, **kwargs):
        drawn.append((*args, kwargs))
        return sheet(*args, **kwargs)

    monkeypatch.setattr('mlcl_plugin.visualization.prediction_sheet', record)

    def call(*options, checkpoint=checkpoint):
        out = tmp_path / 'new folder' / 'sheet.png'
        tool.main([str(config), str(checkpoint), '--out', str(out), *options])
        return drawn.pop(), cv2.imread(str(out))

    return call


def test_sheet(vis, capsys):
    (images, scores, maps, targets, classes, options), picture = vis()
    assert picture.shape[0] > picture.shape[1] / 2 and picture.std() > 10
    # fewer images than asked for by default
    assert len(images) == len(maps) == 7
    assert [image.shape for image in images] == [(32, 32, 3)] * 7
    assert scores.shape == (7, 3) and maps[0].shape == (2, 3, 4, 4)
    # image n of the data set has the labels that are set in the binary number n + 1
    expected = [[n >> label & 1 for label in range(3)] for n in range(1, 8)]
    assert targets.tolist() == expected
    assert classes == ('cat', 'dog', 'owl')
    assert options == dict(thr=0.5, max_labels=6)
    assert '7 of 7 test images' in capsys.readouterr().out


def test_colours(vis, tiny_coco):
    """The picture has the colours of the file: label 0 is a blue square."""
    image = vis()[0][0][0]
    file = cv2.imread(str(tiny_coco / 'val/000.png'))
    np.testing.assert_array_equal(image, file[..., ::-1])


IN_TEST = 'test_dataloader.dataset'


@pytest.mark.parametrize(
    'options',
    [
        ['--split', 'train'],
        ['--cfg-options', f'{IN_TEST}.ann_file=train.json']
        + [f'{IN_TEST}.data_prefix.img_path=train'],
    ],
)
def test_options(vis, tiny_coco, options):
    (images, *_, kwargs), _ = vis('--num-images', '2', '--thr', '0.1', *options)
    assert kwargs['thr'] == 0.1
    # at even distances, without the random flip of the training pipeline
    expected = [cv2.imread(str(tiny_coco / f'train/{n:03}.png')) for n in (0, 3)]
    np.testing.assert_array_equal(images, [image[..., ::-1] for image in expected])


def assert_one_line(capsys, error, message):
    assert error.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f'vis_label_attention: .*{message}', line)


def test_missing_checkpoint(vis, capsys):
    with pytest.raises(SystemExit) as error:
        vis(checkpoint='nowhere.pth')
    assert_one_line(capsys, error, 'nowhere.pth does not exist')


def test_checkpoint_of_another_model(vis, checkpoint, tmp_path, capsys):
    """MMEngine would only mention it in the log and draw a random model."""
    state = torch.load(checkpoint)['state_dict']
    del state['neck.queries']
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    with pytest.raises(SystemExit) as error:
        vis(checkpoint=tmp_path / 'other.pth')
    assert_one_line(capsys, error, 'does not fit the model: .*neck.queries')


@pytest.mark.parametrize('option', ['--num-images', '--max-labels'])
def test_not_positive(vis, capsys, option):
    with pytest.raises(SystemExit):
        vis(option, '0')
    message = f"{option}: expected an integer of at least 1, got '0'"
    assert message in capsys.readouterr().err
