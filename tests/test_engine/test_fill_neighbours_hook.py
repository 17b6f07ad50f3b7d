# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mlcl_plugin.engine import CheckedRunner, CheckpointCheckHook, step_config
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.inference import build_model, fit_neighbours

EMA = dict(type='EMAHook', momentum=0.1, update_buffers=True, priority='ABOVE_NORMAL')
FILL = dict(type='FillNeighboursHook')


@pytest.fixture
def load(load_config):
    """Function that gives the config of a tiny run of one step with the hook."""

    def load(changes=None, ema=True, steps=False):
        cfg = load_config(
            {
                'train_cfg.max_epochs': 1,
                'model.type': 'NeighbourClassifier',
                'model.neighbours': [
                    dict(type='LabelNeighbours', dims=4),
                    dict(type='ImageNeighbours'),
                ],
                'custom_hooks': [
                    *([EMA] if ema else []),
                    dict(type='RecordHook'),
                    FILL,
                ],
                **(changes or {}),
            }
        )
        if not steps:
            cfg.pop('steps'), cfg.pop('runner_type')
        return cfg

    return load


def load_state(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_config_without_a_test(load, record):
    """Named before the training, not after it."""
    cfg = load()
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    with pytest.raises(ValueError, match='no test_dataloader with a dataset'):
        CheckedRunner.from_cfg(cfg).train()
    assert record.epochs() == []


def test_config_of_a_resumed_training(load):
    """The config beside the checkpoint is that of a model, and starts nowhere."""
    cfg = load()
    cfg.resume = True
    CheckedRunner.from_cfg(cfg).train()
    written = Config.fromfile(Path(cfg.work_dir, 'neighbours.py'))
    assert (written.resume, written.load_from) == (False, None)
    checkpoint = str(Path(cfg.work_dir, 'neighbours.pth'))
    text = read_checkpoint(checkpoint)['meta']['cfg']
    assert Config.fromstring(text, '.py').resume is False
    assert build_model(written, checkpoint).is_filled


@pytest.mark.parametrize('ema', [None, False, True])
def test_same_as_the_tool(load, ema):
    """Memory and weights are those that fit_neighbours makes of the last checkpoint."""
    cfg = load(ema=ema is not None)
    if ema is not None:
        cfg.custom_hooks[0].update_buffers = ema
    runner = Runner.from_cfg(cfg)
    runner.train()
    folder = Path(cfg.work_dir)
    fitted = fit_neighbours(cfg, folder / 'epoch_1.pth', device='cpu')
    expected, found = (
        load_state(fitted.checkpoint),
        load_state(folder / 'neighbours.pth'),
    )
    assert found.keys() == expected.keys()
    assert found['neighbours.1.keys'].shape == (1, 7, 16)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    # The model of the run has them, too.
    for key, value in runner.model.neighbours.state_dict().items():
        assert torch.equal(value, expected[f'neighbours.{key}'])
    # Checkpoints of epochs have none.
    epoch = torch.load(folder / 'epoch_1.pth', weights_only=False)['state_dict']
    assert epoch['neighbours.0.keys'].numel() == 0


def predict(runner):
    """Scores of the test images."""
    kept = []
    (metric,) = runner.test_evaluator.metrics
    metric.process = lambda data_batch, data_samples: kept.extend(
        sample['pred_score'] for sample in data_samples
    )
    metric.evaluate = lambda size: {}
    runner.test()
    return torch.stack(kept)


def test_test_takes_it(load, tmp_path):
    """The metric of the filled checkpoint is not that of the head alone."""
    cfg = load()
    Runner.from_cfg(cfg).train()
    cfg.work_dir = str(tmp_path / 'test')
    scores = []
    for weights in ((0.2, 0.5, 0.3), (1.0, 0.0, 0.0)):
        cfg.model.weights = weights
        cfg.load_from = str(tmp_path / 'work/neighbours.pth')
        runner = Runner.from_cfg(cfg)
        runner.register_hook(CheckpointCheckHook())
        scores.append(predict(runner))
    assert scores[0].shape == (7, 3) and (scores[0] - scores[1]).abs().max() > 1e-3


def test_steps(load, record):
    """Each step fills at its end, and starts with an empty memory."""
    cfg = load(steps=True)
    RUNNERS.build(cfg).train()
    folder = Path(cfg.work_dir)
    for step in ('step1', 'step2'):
        assert (folder / step / 'neighbours.pth').exists()
    for start in record.starts():
        assert start.model['neighbours.0.keys'].numel() == 0
    # The head of step 2 has a projector, which the plain config has not.
    model = build_model(step_config(cfg, 'step2'), str(folder / 'step2/neighbours.pth'))
    assert model.is_filled and model.head.projector is not None


def test_training_on_from_a_filled_model(load, record):
    """The old memory is dropped, also that of the average."""
    cfg = load()
    Runner.from_cfg(cfg).train()
    first = load_state(Path(cfg.work_dir) / 'neighbours.pth')
    cfg.load_from = str(Path(cfg.work_dir) / 'neighbours.pth')
    cfg.work_dir += '_again'
    Runner.from_cfg(cfg).train()
    second = load_state(Path(cfg.work_dir) / 'neighbours.pth')
    again = record.starts()[1]
    epoch = torch.load(Path(cfg.work_dir) / 'epoch_1.pth', weights_only=False)
    for state in ('state_dict', 'ema_state_dict'):
        keys = [k for k in epoch[state] if k.endswith('neighbours.0.keys')]
        assert len(keys) == 1 and epoch[state][keys[0]].numel() == 0
    assert torch.equal(
        again.model['head.classifier.weight'], first['head.classifier.weight']
    )
    assert not torch.equal(first['neighbours.0.keys'], second['neighbours.0.keys'])
    assert first['neighbours.0.keys'].shape == second['neighbours.0.keys'].shape


def test_resume(load, record):
    cfg = load({'train_cfg.max_epochs': 2})
    record.stop_at = ('work', 1)
    with pytest.raises(record.Interruption):
        Runner.from_cfg(cfg).train()
    assert not (Path(cfg.work_dir) / 'neighbours.pth').exists()
    record.stop_at = None
    cfg.resume = True
    Runner.from_cfg(cfg).train()
    assert load_state(Path(cfg.work_dir) / 'neighbours.pth')[
        'neighbours.0.keys'
    ].numel()


def test_other_name_and_meta(load):
    cfg = load({'custom_hooks': [dict(FILL, filename='memory.pth')]})
    Runner.from_cfg(cfg).train()
    content = torch.load(Path(cfg.work_dir) / 'memory.pth', weights_only=True)
    assert list(content['meta']['dataset_meta']['classes']) == ['cat', 'dog', 'owl']
    assert content['meta']['epoch'] == 1
    assert Config.fromstring(content['meta']['cfg'], '.py').model == cfg.model


def test_other_model(load):
    cfg = load({'model.type': 'ImageClassifier'})
    cfg.model.pop('neighbours')
    with pytest.raises(ValueError, match='NeighbourClassifier, but the model is Image'):
        Runner.from_cfg(cfg).train()
