# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.labelling.suspicion import (
    KINDS,
    change,
    mean_probability,
    rank_entries,
    suspicion,
)

TARGETS = np.array([[1, 0, -1], [0, 1, 1]], np.int8)
PROBABILITY = np.array([[0.2, 0.7, 0.9], [0.1, np.nan, 0.4]])


def by_loops(kind):
    found = np.full(TARGETS.shape, np.nan)
    for row in range(2):
        for column in range(3):
            given, p = TARGETS[row, column], PROBABILITY[row, column]
            if given == 1 and kind in ('both', 'extra'):
                found[row, column] = 1 - p
            if given == 0 and kind in ('both', 'missing'):
                found[row, column] = p
    return found


@pytest.mark.parametrize('kind', KINDS)
def test_the_probability_of_the_opposite(kind):
    np.testing.assert_array_equal(suspicion(PROBABILITY, TARGETS, kind), by_loops(kind))


def test_unknown_labels_and_those_without_a_score_have_no_rank():
    doubts = suspicion(PROBABILITY, TARGETS)
    assert rank_entries(doubts).tolist() == [[0, 0], [0, 1], [1, 2], [1, 0]]
    assert rank_entries(np.full((2, 2), np.nan)).shape == (0, 2)


def test_equal_suspicions_keep_the_order_of_images():
    assert rank_entries(np.full((2, 2), 0.5)).tolist() == [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
    ]


def test_the_mean_leaves_out_what_has_no_vote():
    other = np.array([[0.4, np.nan, 0.5], [0.3, np.nan, 0.6]])
    expected = [[0.3, 0.7, 0.7], [0.2, np.nan, 0.5]]
    np.testing.assert_allclose(mean_probability([PROBABILITY, other]), expected)


def test_changes_are_opposites_in_a_copy():
    changed = change(TARGETS, np.array([[0, 0], [0, 1]]))
    assert changed.tolist() == [[0, 1, -1], [0, 1, 1]]
    assert TARGETS[0, 0] == 1
    assert change(TARGETS, np.zeros((0, 2), int)).tolist() == TARGETS.tolist()
    with pytest.raises(ValueError, match='unknown label has no opposite'):
        change(TARGETS, np.array([[0, 2]]))


def test_bad_arguments():
    with pytest.raises(ValueError, match='one shape, got'):
        suspicion(PROBABILITY[:1], TARGETS)
    with pytest.raises(ValueError, match="got kind='all'"):
        suspicion(PROBABILITY, TARGETS, 'all')
