# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from mlcl_plugin.datasets.grouped_split import grouped_split

SHARES = {'train': 0.7, 'val': 0.2, 'test': 0.1}


def make(groups=60, labels=8, seed=0):
    """Groups of 1 to 12 images, whose images have similar labels."""
    rng = np.random.default_rng(seed)
    rates = np.geomspace(0.5, 0.05, labels)
    targets, names = [], []
    for group in range(groups):
        own = rng.random(labels) < rates
        for _ in range(rng.integers(1, 13)):
            targets.append(
                np.where(rng.random(labels) < 0.8, own, rng.random(labels) < rates)
            )
            names.append(f'patient {group}')
    return np.array(targets).astype(np.int8), names


def split(targets, names, shares, **kwargs):
    classes = [f'label {i}' for i in range(targets.shape[1])]
    return grouped_split(csr_array(targets), classes, shares, names, **kwargs)


def whole(got, names):
    owners = {}
    for part, images in got.parts.items():
        for image in images:
            owners.setdefault(names[image], set()).add(part)
    return all(len(parts) == 1 for parts in owners.values())


def test_parts():
    targets, names = make()
    got = split(targets, names, SHARES)
    assert whole(got, names)
    assert sorted(np.concatenate(list(got.parts.values()))) == list(range(len(names)))
    for part, images in got.parts.items():
        assert abs(len(images) / len(names) - SHARES[part]) < 0.04
        np.testing.assert_array_equal(got.present[part], targets[images].sum(0))
        assert np.abs(got.deviations(part)).max() < 0.12


def test_better_than_chance():
    """Labels are spread more evenly than by any of twenty random draws of groups."""
    targets, names = make(seed=1)
    off = np.abs(split(targets, names, {'train': 0.8, 'val': 0.2}).deviations('val'))
    rng, groups = np.random.default_rng(0), np.array(names)
    for _ in range(20):
        drawn = rng.permutation(np.unique(groups))[:12]
        share = targets[np.isin(groups, drawn)].sum(0) / targets.sum(0)
        assert off.mean() < 0.7 * np.abs(share - 0.2).mean()


def test_near_the_best_of_all():
    """Of all ways to divide 10 groups, few are better."""
    targets, names = make(groups=10, labels=3, seed=2)
    groups = np.array(names)

    def cost(val):
        chosen = np.isin(groups, val)
        columns = np.column_stack([targets, np.full(len(names), 3)])
        return np.abs(columns[chosen].sum(0) / columns.sum(0) - 0.3).sum()

    unique = np.unique(groups).tolist()
    costs = [
        cost(val) for n in range(1, 10) for val in itertools.combinations(unique, n)
    ]
    got = split(targets, names, {'train': 0.7, 'val': 0.3})
    ours = cost(np.unique(groups[got.parts['val']]))
    assert np.mean(np.array(costs) < ours) < 0.1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=3, max_size=40), st.integers(0, 3))
def test_always_whole_and_never_empty(groups, seed):
    targets = np.random.default_rng(seed).integers(-1, 2, (len(groups), 2))
    names = [str(group) for group in groups]
    if len(set(names)) < 3:
        with pytest.raises(ValueError, match='fewer than the 3 parts train, val, test'):
            split(targets.astype(np.int8), names, SHARES, seed=seed)
        return
    got = split(targets.astype(np.int8), names, SHARES, seed=seed)
    assert whole(got, names)
    assert all(len(images) for images in got.parts.values())
    assert sum(map(len, got.parts.values())) == len(groups)
    again = split(targets.astype(np.int8), names, SHARES, seed=seed)
    assert all(np.array_equal(got.parts[part], again.parts[part]) for part in SHARES)


def test_errors():
    targets, names = make(groups=4)
    with pytest.raises(ValueError, match=r"have 1 group \(\['a'\]\), which is fewer"):
        split(targets, ['a'] * len(names), {'train': 0.5, 'val': 0.5})
    with pytest.raises(ValueError, match='sum up to 1.2'):
        split(targets, names, {'train': 0.9, 'val': 0.3})
    with pytest.raises(ValueError, match=f'must have {len(names)} names'):
        split(targets, names[1:], SHARES)
