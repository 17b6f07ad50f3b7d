# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.sparse import csr_array

from mlcl_plugin.datasets.stratified_folds import stratified_folds
from tests.test_datasets.test_stratified_split import make


@pytest.mark.parametrize('unknown', [0.0, 0.3])
def test_folds_have_their_share_of_every_label(unknown):
    targets = make(unknown=unknown)
    fold = stratified_folds(csr_array(targets), 5, seed=1)
    sizes = np.bincount(fold, minlength=5)
    assert sizes.sum() == 300 and abs(sizes - 60).max() <= 6
    for label in range(targets.shape[1]):
        for value in (1, -1):
            counts = np.bincount(fold[targets[:, label] == value], minlength=5)
            assert counts.max() - counts.min() <= 10
    np.testing.assert_array_equal(stratified_folds(csr_array(targets), 5, 1), fold)
    assert (stratified_folds(csr_array(targets), 5, 2) != fold).any()


def test_folds_keep_groups_together():
    groups = np.arange(300) // 7
    fold = stratified_folds(csr_array(make()), 3, groups=groups)
    assert set(fold) == {0, 1, 2}
    for group in range(groups[-1] + 1):
        assert len(set(fold[groups == group])) == 1


@pytest.mark.parametrize(
    ('folds', 'groups', 'message'),
    [
        (1, None, 'from 2 to 20 folds'),
        (21, None, 'got num_folds=21'),
        (3, np.arange(20) // 10, 'from 2 to 2 folds'),
    ],
)
def test_folds_of_no_use(folds, groups, message):
    with pytest.raises(ValueError, match=message):
        stratified_folds(csr_array(make(number=20)), folds, groups=groups)


def test_folds_of_groups_have_equal_sizes():
    # Five groups of 200 images and 45 of 5.
    groups = np.repeat(np.arange(50), [200] * 5 + [5] * 45)
    targets = np.random.default_rng(0).integers(0, 2, (len(groups), 4))
    fold = stratified_folds(csr_array(targets.astype(np.int8)), 5, groups=groups)
    assert np.ptp(np.bincount(fold)) <= 10


@pytest.mark.parametrize(('groups', 'what'), [(None, 'image'), (np.zeros(1), 'group')])
def test_one_image_has_no_folds(groups, what):
    with pytest.raises(ValueError, match=f'1 {what}, but folds need 2 {what}s'):
        stratified_folds(csr_array(np.ones((1, 2), np.int8)), 2, groups=groups)
