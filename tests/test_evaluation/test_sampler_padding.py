# SPDX-License-Identifier: Apache-2.0
from itertools import chain, zip_longest

import pytest
from mmengine.dataset import DefaultSampler

from mlcl_plugin.evaluation.sampler_padding import num_without_padding


def samples_of(monkeypatch, rank, world_size, size, **kwargs):
    """Indices that MMEngine's sampler gives to one of several processes."""
    monkeypatch.setattr(
        'mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size)
    )
    return list(DefaultSampler(range(size), seed=5, **kwargs))


@pytest.mark.parametrize('shuffle', [False, True])
@pytest.mark.parametrize('round_up', [False, True])
@pytest.mark.parametrize('world_size', [1, 2, 3, 4])
@pytest.mark.parametrize('size', [1, 2, 3, 7, 8, 12, 13])
def test_default_sampler(monkeypatch, size, world_size, round_up, shuffle):
    parts = [
        samples_of(
            monkeypatch, rank, world_size, size, shuffle=shuffle, round_up=round_up
        )
        for rank in range(world_size)
    ]
    numbers = num_without_padding([len(part) for part in parts], size)
    kept = [part[:number] for part, number in zip(parts, numbers)]
    assert sorted(chain.from_iterable(kept)) == list(range(size))
    # MMEngine joins the parts in turn and cuts the list.
    joined = [i for i in chain.from_iterable(zip_longest(*parts)) if i is not None]
    assert sorted(chain.from_iterable(kept)) == sorted(joined[:size])


@pytest.mark.parametrize('num_held', [[4, 0, 3], [0, 0, 7], [2, 2, 2], [0, 0, 0]])
def test_nothing_to_drop(num_held):
    assert num_without_padding(num_held, 7) == num_held


def test_one_process():
    assert num_without_padding([12], 10) == [10]
    assert num_without_padding([8], 10) == [8]


@pytest.mark.parametrize(
    'num_held',
    [
        [4, 3, 3],  # 10 of 7: one process has lost samples or another has too many
        [9, 0, 0],
        [4, 4, 4],  # more than padding needs
        [6, 6, 6],  # two rounds
        [3, 3, 2],  # 8 of 7: the last place of the third process is missing
    ],
)
def test_not_padding(num_held):
    with pytest.raises(ValueError, match='dataset of 7.*each holds 3') as error:
        num_without_padding(num_held, 7)
    assert str(num_held) in str(error.value)
