# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader, Dataset

from mlcl_plugin.datasets import CocoMultiLabel
from mlcl_plugin.engine import CheckedRunner
from mlcl_plugin.engine.counter_seeds import SeededSamples, hash_counters, set_seed


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_seed():
    set_seed(1, 2, 3)
    first = draw()
    assert draw() != first
    set_seed(1, 2, 3, devices=True)
    assert draw() == first


def test_streams_differ():
    """Also where counters change places, and for small and large ones."""
    tuples = [(0,), (0, 0), (1, 2), (2, 1), (1, 2, 0), (2**32,), (2**63,), (1,)]
    seen = set()
    for counters in tuples:
        set_seed(*counters)
        values = draw()
        assert not seen & set(values)
        seen |= set(values)


def test_hash_has_no_pattern():
    """Bits of the hashes of neighbours are equal as often as not."""
    words = np.array(
        [hash_counters(0, 7, epoch, i) for epoch in range(20) for i in range(200)],
        dtype=np.uint64,
    )
    assert len(set(words.tolist())) == len(words)
    bits = np.unpackbits(words.view(np.uint8)).reshape(len(words), 64)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.05
    changed = (bits[1:] != bits[:-1]).mean(axis=0)
    assert np.abs(changed - 0.5).max() < 0.05


class Draws(Dataset):
    """Samples are what is drawn for them."""

    metainfo = dict(classes=('a',))

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor([index, *draw()], dtype=torch.float64)

    def full_init(self):
        pass

    def get_data_info(self, index):
        return dict(index=index)


def test_samples():
    dataset = SeededSamples(Draws(), 5)
    assert len(dataset) == 12
    assert dataset.metainfo == Draws.metainfo
    assert dataset.get_data_info(3) == dict(index=3)
    first = dataset[3]
    assert not torch.equal(dataset[4][1:], first[1:])
    assert torch.equal(dataset[3], first)
    dataset.set_epoch(1)
    assert not torch.equal(dataset[3][1:], first[1:])
    assert not torch.equal(SeededSamples(Draws(), 6)[3][1:], first[1:])


@pytest.fixture
def crops(tiny_coco):
    """Images of which a part is drawn. Workers that are spawned can import them."""
    transforms = [
        dict(type='LoadImage'),
        dict(type='mmpretrain.RandomResizedCrop', scale=8),
    ]
    return CocoMultiLabel(
        data_root=str(tiny_coco),
        ann_file='train.json',
        data_prefix=dict(img_path='train'),
        pipeline=transforms,
    )


def epochs(dataset, **options):
    """Images of three epochs; the last epoch is the first one again."""
    dataset = SeededSamples(dataset, 5)
    loader = DataLoader(dataset, batch_size=2, collate_fn=list, **options)
    result = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        result.append(np.stack([s['img'] for batch in loader for s in batch]))
    return result


@pytest.mark.parametrize(
    ('context', 'persistent'),
    [
        ('fork', True),
        ('fork', False),
        pytest.param('spawn', True, marks=pytest.mark.slow),
    ],
)
def test_workers_do_not_matter(crops, context, persistent):
    expected = epochs(crops)
    assert (expected[0] != expected[1]).any()
    assert (expected[0] == expected[2]).all()
    found = epochs(
        crops,
        num_workers=2,
        persistent_workers=persistent,
        multiprocessing_context=context,
        prefetch_factor=4,
    )
    assert (np.array(found) == np.array(expected)).all()


class BatchesHook(Hook):
    """Record the images of each batch, and what the model could draw."""

    batches = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        images = [s.img_path for s in data_batch['data_samples']]
        pixels = torch.stack(list(data_batch['inputs'])).double().flatten()
        # A sum with weights, since flips change no plain sum.
        pixels = (pixels * torch.arange(len(pixels))).sum().item()
        self.batches.append((runner.epoch, runner.seed, images, pixels, draw()))


@pytest.fixture
def train(load_config, tmp_path, record):
    """Function that trains a plain run and gives its batches."""

    def call(changes, name='work', resume=False):
        cfg = load_config({'train_cfg.max_epochs': 3, **changes})
        cfg.pop('steps'), cfg.pop('runner_type')
        cfg.update(work_dir=str(tmp_path / name), resume=resume)
        runner = CheckedRunner.from_cfg(cfg)
        hook = BatchesHook()
        hook.batches = []
        runner.register_hook(hook, priority='LOWEST')
        runner.train()
        return hook.batches

    return call


def workers(number, persistent=False):
    return {
        'train_dataloader.num_workers': number,
        'train_dataloader.persistent_workers': persistent,
    }


@pytest.mark.parametrize('persistent', [True, False])
def test_workers_of_a_training(train, persistent):
    assert train(workers(2, persistent), 'two') == train(workers(0), 'none')


@pytest.mark.parametrize('number', [0, 2])
def test_resume_of_a_random_seed(train, record, number):
    """The same order of images, augmentations and draws of the model."""
    changes = {'randomness.seed': None, **workers(number, number > 0)}
    record.stop_at = None
    whole = train(changes)
    seed = whole[0][1]
    record.stop_at = ('cut', 2)
    changes['randomness.seed'] = seed
    with pytest.raises(record.Interruption):
        train(changes, 'cut')
    record.stop_at = None
    # Without a seed in the config, the one of the checkpoint is taken.
    changes['randomness.seed'] = None
    resumed = train(changes, 'cut', resume=True)
    assert resumed == [batch for batch in whole if batch[0] == 2]
    assert resumed


def test_seed_of_the_sampler_stays(train):
    """A sampler may have a seed of its own in the config."""
    first = train({'train_dataloader.sampler.seed': 3}, 'first')
    second = train({'train_dataloader.sampler.seed': 3, 'randomness.seed': 1}, 'second')
    assert [b[2] for b in first] == [b[2] for b in second]
    assert [b[3] for b in first] != [b[3] for b in second]


def test_epochs_differ(train):
    batches = train({})
    per_epoch = [[b[2:] for b in batches if b[0] == epoch] for epoch in range(3)]
    assert per_epoch[0] != per_epoch[1] != per_epoch[2]
    # Each iteration draws anew.
    assert len({b[4] for b in batches}) == len(batches)
