# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mlcl_plugin.engine import CheckedRunner
from mlcl_plugin.inference import AttentionImagesHook, build_model
from mlcl_plugin.inference.attention_sheet import attend
from mlcl_plugin.models.necks import LabelAttentionNeck
from mlcl_plugin.reports.figures import to_pixels
from mlcl_plugin.visualization import prediction_sheet

BACKENDS = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]


def test_in_a_training(load_config, tmp_path):
    """It shows the weights that were validated, and changes nothing."""
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    trained = []
    for hooks in ([], [dict(type='AttentionImagesHook', num_images=3)]):
        cfg = load_config()
        cfg.pop('steps'), cfg.pop('runner_type')
        cfg.custom_hooks = [*cfg.custom_hooks, *hooks]
        cfg.visualizer = dict(type='UniversalVisualizer', vis_backends=BACKENDS)
        cfg.work_dir = str(tmp_path / f'work{len(hooks)}')
        runner = CheckedRunner.from_cfg(cfg)
        runner.train()
        runner.visualizer.close()
        trained.append(runner.model.state_dict())
    for name, value in trained[0].items():
        assert torch.equal(value, trained[1][name]), name

    (folder,) = (tmp_path / 'work1').glob('*/vis_data')
    drawn = sorted(path.name for path in (folder / 'vis_image').iterdir())
    assert drawn == ['attention_1.png', 'attention_2.png']
    # The checkpoint has the averaged weights.
    model = build_model(cfg, tmp_path / 'work1/epoch_2.pth', 'cpu')
    images, scores, maps, targets, classes, _ = attend(model, cfg, 'val', 3)
    want = to_pixels(prediction_sheet(images, scores, maps, targets, classes))
    for step, same in ((1, False), (2, True)):
        got = cv2.imread(str(folder / f'vis_image/attention_{step}.png'))[..., ::-1]
        assert np.array_equal(got, want) == same

    (file,) = folder.glob('events.out.tfevents.*')
    events = event_accumulator.EventAccumulator(str(file))
    events.Reload()
    shown = events.Images('attention')
    assert [event.step for event in shown] == [1, 2]
    got = cv2.imdecode(np.frombuffer(shown[1].encoded_image_string, np.uint8), 1)
    np.testing.assert_array_equal(got[..., ::-1], want)
    # Beside the AP of each label, and the loss.
    scalars = set(events.Tags()['scalars'])
    assert {f'multi-label/AP/{name}' for name in ('cat', 'dog', 'owl')} <= scalars
    assert 'loss' in scalars


def runner_of(inputs, neck=None):
    neck = neck or LabelAttentionNeck(3, 4, 4, num_heads=1)
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=[dict(inputs=inputs)]))
    return SimpleNamespace(model=nn.ModuleDict(dict(neck=neck)), val_loop=loop)


def test_errors(monkeypatch):
    with pytest.raises(ValueError, match='num_images must be 1 or more, got 0'):
        AttentionImagesHook(num_images=0)
    hook = 'mlcl_plugin.inference.attention_images_hook'
    with pytest.raises(ValueError, match='Attention maps of labels need a model with'):
        AttentionImagesHook().before_train(runner_of(None))
    monkeypatch.setattr(f'{hook}.attention_neck', lambda model: None)
    with pytest.raises(ValueError, match=r'got \(16, 4, 4\).*cached_features'):
        AttentionImagesHook().before_train(runner_of(torch.zeros(16, 4, 4)))
    with pytest.raises(ValueError, match='got list'):
        AttentionImagesHook().before_train(runner_of([1]))
    runner = runner_of(None)
    runner.val_loop = None
    with pytest.raises(ValueError, match='there is no val_dataloader'):
        AttentionImagesHook().before_train(runner)
    # A validation outside of a training.
    AttentionImagesHook().after_val_epoch(runner)
