# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.engine import (
    build_split,
    fill_neighbours,
    iterate_images,
    save_filled,
)
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.targets import UNKNOWN

SCRIPT = str(Path(__file__).with_name('neighbour_processes.py'))
MODEL = {
    'model.type': 'NeighbourClassifier',
    'model.neighbours': [
        dict(type='LabelNeighbours', dims=4, prototypes=None),
        dict(type='ImageNeighbours'),
    ],
}


@pytest.fixture
def load(load_config):
    def load(changes=None):
        cfg = load_config({**MODEL, **(changes or {})})
        init_default_scope('mmpretrain')
        torch.manual_seed(0)
        cfg.model.data_preprocessor = cfg.data_preprocessor
        model = MODELS.build(cfg.model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return cfg, model

    return load


def test_images_and_targets(load):
    """In the order of the dataset, with the targets of each."""
    cfg, model = load()
    model.train()
    fill_neighbours(model, cfg)
    assert model.training and model.is_filled
    for memory in model.memories:
        names = [Path(name).name for name in memory.image_names]
        assert names == [f'{number:03}.png' for number in range(7)]
        for label in range(3):
            bits = [(number + 1) >> label & 1 for number in range(7)]
            assert memory.targets[label].tolist() == bits


def test_objects_of_a_config_are_saved_as_plain_ones(tmp_path):
    """Readers refuse MMEngine's ConfigDict, which metainfo of a config holds."""
    path = tmp_path / 'filled.pth'
    dataset = ConfigDict(classes=['a', 'b'], source=dict(size=[1, 2]))
    model = torch.nn.Linear(1, 1)
    save_filled(model, str(path), dict(dataset_meta=dataset, epoch=3))
    content = read_checkpoint(path)
    assert content['meta'] == dict(dataset_meta=dict(dataset), epoch=3)
    assert content['state_dict'].keys() == model.state_dict().keys()


@pytest.mark.parametrize('batch_size', [1, 3, 100])
def test_batch_size(load, batch_size):
    """The memory does not depend on it, up to rounding in the network."""
    cfg, model = load()
    fill_neighbours(model, cfg)
    expected = {key: value.clone() for key, value in model.state_dict().items()}
    cfg.test_dataloader.batch_size = batch_size
    fill_neighbours(model, cfg)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            value.float(), expected[key].float(), rtol=0, atol=1.0
        )


def test_chosen_images(load):
    cfg, model = load()
    fill_neighbours(model, cfg, build_split(cfg, 'val'), [4, 2])
    memory = model.memories[1]
    assert [int(index) for index in memory.images[0]] == [2, 4]
    assert Path(memory.image_names[4]).name == '004.png'


def test_random_views(load):
    """As many of each image as a member wants, alike in each call."""
    member = dict(type='PooledLogistic', strength=1.0, num_views=2)
    neighbours = [dict(type='ImageNeighbours'), member]
    cfg, model = load({'model.neighbours': neighbours, 'model.weights': (1, 0, 0)})
    added = []
    model.memories[1].add = lambda *batch: added.append(batch)
    model.memories[1].build = lambda names: None
    fill_neighbours(model, cfg)
    first = [torch.cat(parts) for parts in zip(*added)]
    assert first[2].bincount().tolist() == [3] * 7
    for image in range(7):
        own = first[1][first[2] == image]
        assert (own == own[0]).all()
    # The image as the test pipeline shows it comes first.
    expected = first[0][first[2].argsort(stable=True)][::3]
    added.clear()
    model.memories[1].num_views = 0
    fill_neighbours(model, cfg)
    plain = [torch.cat(parts) for parts in zip(*added)]
    torch.testing.assert_close(expected, plain[0][plain[2].argsort()])
    added.clear()
    model.memories[1].num_views = 2
    fill_neighbours(model, cfg)
    again = [torch.cat(parts) for parts in zip(*added)]
    assert torch.equal(first[0], again[0])


def test_views_of_several_at_a_time(load):
    """The training pipeline of step 2 makes two views of an image."""
    member = dict(type='PooledLogistic', strength=1.0, num_views=2)
    cfg, model = load({'model.neighbours': [member], 'model.weights': (0.5, 0.5)})
    changes = cfg.steps.step2 if 'steps' in cfg else None
    assert changes is not None
    cfg.train_dataloader.dataset = changes.train_dataloader.dataset
    added = []
    model.memories[0].add = lambda *batch: added.append(batch)
    model.memories[0].build = lambda names: None
    fill_neighbours(model, cfg)
    _, targets, images = (torch.cat(parts) for parts in zip(*added))
    assert images.bincount().tolist() == [3] * 7
    for image in range(7):
        own = targets[images == image]
        assert (own == own[0]).all()


def test_views_of_other_images_are_refused(load):
    member = dict(type='PooledLogistic', strength=1.0, num_views=1)
    cfg, model = load({'model.neighbours': [member], 'model.weights': (0.5, 0.5)})
    with pytest.raises(ValueError, match='but other images were given'):
        fill_neighbours(model, cfg, build_split(cfg, 'val'))


def test_hidden_labels(load):
    """Labels that a wrapper hides are unknown, and do not vote."""
    cfg, model = load()
    cfg.train_dataloader.dataset = dict(
        type='HideLabels', keep=0.5, dataset=cfg.train_dataloader.dataset
    )
    fill_neighbours(model, cfg)
    targets = model.memories[1].targets
    assert 0 < (targets == UNKNOWN).sum() < targets.numel()


def test_no_augmentation(load):
    """The test pipeline, twice the same."""
    cfg, model = load()
    for _ in range(2):
        fill_neighbours(model, cfg)
        keys = model.memories[0].keys
    fill_neighbours(model, cfg)
    assert torch.equal(model.memories[0].keys, keys)


def test_iterate_images(load):
    cfg, model = load()
    batches = list(iterate_images(model, cfg, build_split(cfg, 'val'), [6, 0, 3, 1, 2]))
    assert [len(inputs) for inputs, _, _ in batches] == [4, 1]
    assert torch.cat([images for _, _, images in batches]).tolist() == [6, 0, 3, 1, 2]
    names = [
        Path(sample.img_path).name for _, samples, _ in batches for sample in samples
    ]
    assert names == ['006.png', '000.png', '003.png', '001.png', '002.png']


def test_several_processes(write_config, run_processes, tmp_path):
    """All have the memory of one process: every image once."""
    states = {}
    for number in (1, 2):
        # No step: the weights stay those of the start.
        config = write_config(
            {
                **MODEL,
                'work_dir': str(tmp_path / str(number)),
                'optim_wrapper.optimizer': dict(_delete_=True, type='SGD', lr=0.0),
                'train_cfg.max_epochs': 1,
                'val_cfg': None,
                'val_dataloader': None,
                'val_evaluator': None,
                'custom_hooks': [dict(type='FillNeighboursHook')],
                # Running means of batch norm depend on the batches.
                'model.backbone.norm_eval': True,
                'default_hooks.checkpoint.interval': 99,
            }
        )
        results = run_processes(SCRIPT, number, config)
        for result in results[1:]:
            for key, value in result.items():
                assert torch.equal(value, results[0][key])
        states[number] = results[0]
    for key, value in states[1].items():
        assert value.shape == states[2][key].shape, key
        # Batches of another size: rounding, and axes with another sign.
        first, second = value.float().abs(), states[2][key].float().abs()
        torch.testing.assert_close(first, second, rtol=0, atol=2.0)
