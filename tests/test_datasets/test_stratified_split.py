# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from mlcl_plugin.datasets.stratified_split import stratified_split


def make(number=300, labels=8, seed=0, unknown=0.0):
    """Labels from frequent to rare, some of them unknown."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((number, labels)) < np.geomspace(0.5, 0.03, labels)) * 1
    targets[rng.random(targets.shape) < unknown] = -1
    return targets.astype(np.int8)


def split(targets, shares, **kwargs):
    classes = [f'label {i}' for i in range(targets.shape[1])]
    return stratified_split(csr_array(targets), classes, shares, **kwargs)


SHARES = {'train': 0.7, 'val': 0.2, 'test': 0.1}


def test_parts():
    targets = make()
    got = split(targets, SHARES)
    assert list(got.parts) == ['train', 'val', 'test']
    assert sorted(np.concatenate(list(got.parts.values()))) == list(range(300))
    for name, images in got.parts.items():
        assert abs(len(images) / 300 - SHARES[name]) < 0.02
        expected = (targets[images] == 1).sum(0)
        np.testing.assert_array_equal(got.present[name], expected)
        share = expected / (targets == 1).sum(0)
        np.testing.assert_allclose(got.deviations(name), share - SHARES[name])
    np.testing.assert_array_equal(got.totals, (targets == 1).sum(0))


def test_better_than_chance():
    """Labels are spread more evenly than any of ten random divisions does."""
    targets = make(labels=12)
    got = split(targets, {'train': 0.8, 'val': 0.2})
    off = np.abs(got.deviations('val')).mean()
    rng = np.random.default_rng(0)
    totals = targets.sum(0)
    for _ in range(10):
        chosen = rng.permutation(len(targets))[:60]
        assert off < 0.5 * np.abs(targets[chosen].sum(0) / totals - 0.2).mean()


def test_unknown_entries_do_not_gather():
    """Those of label 0 are on the first images only, whose labels are all alike."""
    targets = np.zeros((200, 2), dtype=np.int8)
    targets[:, 1] = 1
    targets[:40, 0] = -1
    got = split(targets, {'train': 0.5, 'val': 0.5})
    assert abs((got.parts['val'] < 40).sum() - 20) <= 1
    # unknown is not present
    assert got.totals.tolist() == [0, 200]
    assert np.isnan(got.deviations('val')[0])


def test_seed():
    targets = make(unknown=0.1)
    one, same, other = (
        split(targets, SHARES, seed=seed).parts['val'].tolist() for seed in (1, 1, 2)
    )
    assert one == same != other


def test_rare_labels():
    targets = make()
    targets[:, 5:] = 0
    targets[:2, 5] = 1
    targets[0, 6] = 1
    got = split(targets, SHARES)
    assert got.too_rare == ['label 5', 'label 6', 'label 7']
    lacking = [got.missing(name) for name in SHARES]
    # one image of label 6 is in one of three parts; label 7 has none to miss
    assert sum('label 6' in names for names in lacking) == 2
    assert not any('label 7' in names for names in lacking)


@settings(max_examples=30, deadline=None)
@given(
    number=st.integers(4, 30),
    labels=st.integers(1, 6),
    seed=st.integers(0, 99),
    unknown=st.sampled_from([0.0, 0.3, 1.0]),
    present=st.sampled_from([0, 1]),
)
def test_any_labels(number, labels, seed, unknown, present):
    """One label, none present, all unknown: every image is in one part."""
    targets = make(number, labels, seed, unknown) * np.int8(present)
    got = split(targets, {'train': 0.5, 'val': 0.5}, seed=seed)
    images = np.concatenate([got.parts['train'], got.parts['val']])
    assert sorted(images) == list(range(number))
    assert min(map(len, got.parts.values())) > 0


@pytest.mark.parametrize(
    ('shares', 'message'),
    [
        ({'train': 1.0}, 'two parts or more'),
        ({'train': 1.2, 'val': -0.2}, 'share of train must .* got 1.2'),
        ({'train': 0.5, 'val': 0.4}, 'sum up to 0.9, not to 1'),
        ({'train': 0.99, 'val': 0.01}, '20 images are too few: val'),
    ],
)
def test_shares_of_no_use(shares, message):
    with pytest.raises(ValueError, match=message):
        split(make(number=20), shares)
