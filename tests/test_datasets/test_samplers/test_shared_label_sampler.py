# SPDX-License-Identifier: Apache-2.0
import json
from collections import Counter

import numpy as np
import pytest
from mmengine.registry import DATA_SAMPLERS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets import SharedLabelSampler

# label 3 has one carrier, image 6 no label
LABELS = [[0], [0, 1], [1, 2], [2], [0], [3], [], [0, 2], [1], [2]]


class Labelled:
    """What the sampler needs of a dataset."""

    metainfo: dict = {}

    def __init__(self, infos):
        self.infos = infos

    def full_init(self):
        pass

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]

    def __getitem__(self, index):
        return index


@pytest.fixture
def dataset():
    return Labelled([dict(gt_label=labels) for labels in LABELS])


@pytest.fixture
def ranks(monkeypatch):
    """Function that makes the sampler of each of some processes."""

    def make(world_size, *args, **kwargs):
        samplers = []
        for rank in range(world_size):
            monkeypatch.setattr(
                'mlcl_plugin.datasets.samplers.shared_label_sampler.get_dist_info',
                lambda rank=rank: (rank, world_size),
            )
            samplers.append(SharedLabelSampler(*args, **kwargs))
        return samplers

    return make


def groups_of(indices, size):
    return [indices[i : i + size] for i in range(0, len(indices), size)]


@pytest.mark.parametrize('size', [2, 3, 4])
def test_images_of_a_group_share_a_label_of_the_first(dataset, size):
    sampler = SharedLabelSampler(dataset, size, seed=0)
    shared = mixed = 0
    for epoch in range(50):
        sampler.set_epoch(epoch)
        for group in groups_of(list(sampler), size):
            assert len(set(group)) == len(group)
            carriers = [
                {i for i, labels in enumerate(LABELS) if label in labels}
                for label in LABELS[group[0]]
            ]
            # all of a label's carriers where there are too few for a group
            if any(set(group) <= c or c <= set(group) for c in carriers):
                shared += 1
            else:
                # the image without label, or a group that the epoch's end cut off
                mixed += 1
                assert not LABELS[group[0]] or len(group) < size
    assert shared > 5 * mixed > 0


def test_each_label_of_an_image_is_drawn_alike(dataset):
    # image 2 carries the labels 1 and 2: images 1 and 8 have 1, and 3, 7 and 9 have 2
    sampler = SharedLabelSampler(dataset, 2, seed=0)
    partners = Counter()
    for epoch in range(2000):
        sampler.set_epoch(epoch)
        partners.update(g[1] for g in groups_of(list(sampler), 2) if g[0] == 2)
    total = sum(partners.values())
    # an image is the first of a group in every second epoch
    assert 900 < total < 1100
    assert partners[1] + partners[8] == pytest.approx(total / 2, rel=0.1)
    assert partners[3] + partners[7] + partners[9] == pytest.approx(total / 2, rel=0.1)
    assert partners[3] == pytest.approx(total / 6, rel=0.25)


def test_images_of_many_labels_are_seen_more_often(dataset):
    sampler = SharedLabelSampler(dataset, 2, seed=0)
    seen = Counter()
    for epoch in range(500):
        sampler.set_epoch(epoch)
        seen.update(sampler)
    assert sum(seen.values()) == 500 * len(LABELS)
    by_number = {
        number: np.mean([seen[i] for i, x in enumerate(LABELS) if len(x) == number])
        for number in (0, 1, 2)
    }
    assert by_number[0] < by_number[1] < 500 < by_number[2]


def test_epochs_differ_and_repeat_by_seed(dataset):
    one, other = (SharedLabelSampler(dataset, 2, seed=5) for _ in range(2))
    first = list(one)
    assert len(first) == len(one) == len(LABELS)
    assert first == list(one) == list(other)
    one.set_epoch(1)
    assert list(one) != first
    assert list(SharedLabelSampler(dataset, 2, seed=6)) != first


@pytest.mark.parametrize('world_size', [2, 3, 16])
def test_processes_take_whole_groups_of_one_epoch(dataset, ranks, world_size):
    samplers = ranks(world_size, dataset, 2, seed=3)
    parts = [list(sampler) for sampler in samplers]
    number = -(-len(LABELS) // world_size)
    assert [len(part) for part in parts] == [number] * world_size
    assert [len(sampler) for sampler in samplers] == [number] * world_size
    firsts = [part[i] for part in parts for i in range(0, number, 2)]
    # no image is first twice before each was first once
    counts = Counter(firsts)
    assert max(counts.values()) - min(counts[i] for i in range(len(LABELS))) <= 1
    joined = list(ranks(1, dataset, 2, seed=3)[0])
    assert joined[0] == parts[0][0]


def test_takes_datasets_and_their_wrappers(dataset, tmp_path):
    infos = [dict(img_path=f'{i}.jpg', gt_label=x) for i, x in enumerate(LABELS)]
    content = dict(metainfo=dict(classes=list('abcd')), data_list=infos)
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps(content))
    plain = dict(type='MultiLabelDataset', ann_file=str(path), pipeline=[])
    # gives gt_score, where the others give gt_label
    scored = dict(type='HideLabels', keep=1.0, dataset=plain)
    init_default_scope('mmpretrain')
    expected = list(SharedLabelSampler(dataset, 3, seed=0))
    for cfg in (
        plain,
        scored,
        dict(type='RepeatDataset', times=1, dataset=plain),
        dict(type='ConcatDataset', datasets=[scored]),
    ):
        built = DATASETS.build(cfg)
        assert list(SharedLabelSampler(built, 3, seed=0)) == expected


def test_unknown_labels_draw_nobody():
    infos = [dict(img_path='a.jpg', gt_score=[1, -1])] * 3
    infos += [dict(img_path='b.jpg', gt_score=[-1, 1])] * 3
    sampler = SharedLabelSampler(Labelled(infos), 3, seed=0)
    for epoch in range(10):
        sampler.set_epoch(epoch)
        for group in groups_of(list(sampler), 3):
            assert set(group) in ({0, 1, 2}, {3, 4, 5})


def test_a_dataloader_of_a_config_takes_it(dataset):
    init_default_scope('mmpretrain')
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=4,
            sampler=dict(type='SharedLabelSampler', group_size=4),
        ),
        seed=1,
    )
    batches = list(loader)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    with DATA_SAMPLERS.switch_scope_and_registry('mmpretrain') as registry:
        assert registry.get('SharedLabelSampler') is SharedLabelSampler


@pytest.mark.parametrize('size', [1, 0, -2, 11, 2.0, True, None])
def test_rejects_group_sizes(dataset, size):
    with pytest.raises(ValueError, match='group_size'):
        SharedLabelSampler(dataset, size)


def test_rejects_images_without_labels_at_all():
    dataset = Labelled([dict(gt_label=[0]), dict(img_path='a.jpg')])
    with pytest.raises(ValueError, match="Image 1 has neither 'gt_score'"):
        SharedLabelSampler(dataset)
