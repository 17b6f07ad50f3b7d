# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from mlcl_plugin.labelling.selection import (
    RULES,
    by_uncertainty,
    entropy,
    entry_values,
    order_by_clusters,
    order_by_distance,
    order_by_rarity,
    order_images,
)

PROBABILITY = np.array([[0.5, 0.1], [0.9, np.nan], [0.2, 0.3]])
ASKABLE = np.array([[True, True], [False, True], [True, False]])
PRESENT = np.array([3, 0])


def bits(p):
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)


def test_entropy_in_bits():
    values = np.array([0.0, 0.25, 0.5, 1.0, np.nan])
    expected = [0, bits(0.25), 1, 0, np.nan]
    np.testing.assert_allclose(entropy(values), expected)


def test_uncertainty_counts_unknown_labels_alone():
    # A label that no model can tell has the entropy of 0.5.
    expected = [1 + bits(0.1), 1, bits(0.2)]
    np.testing.assert_allclose(by_uncertainty(PROBABILITY, ASKABLE), expected)


def test_values_of_single_labels():
    found = entry_values(PROBABILITY, ASKABLE, 'rare', PRESENT)
    expected = [[1 / 4, bits(0.1)], [np.nan, 1], [bits(0.2) / 4, np.nan]]
    np.testing.assert_allclose(found, expected)
    found = entry_values(PROBABILITY, ASKABLE, 'uncertainty', PRESENT)
    np.testing.assert_allclose(found[0], [1, bits(0.1)])
    with pytest.raises(ValueError, match="got rule='mixed'"):
        entry_values(PROBABILITY, ASKABLE, 'mixed', PRESENT)


def rarity_by_loops(probability, askable, present, number):
    counts, chosen = list(map(float, present)), []
    for _ in range(number):
        best, highest = -1, -1.0
        for image in range(len(probability)):
            value = 0.0
            for label, count in enumerate(counts):
                if askable[image, label]:
                    value += bits(probability[image, label]) / (count + 1)
            if image not in chosen and value > highest:
                best, highest = image, value
        chosen.append(best)
        for label in range(len(counts)):
            if askable[best, label]:
                counts[label] += probability[best, label]
    return chosen


def test_rare_labels_one_after_the_other():
    rng = np.random.default_rng(0)
    probability, askable = rng.random((8, 3)), rng.random((8, 3)) > 0.3
    found = order_by_rarity(probability, askable, np.array([5, 0, 1]), 8)
    assert found.tolist() == rarity_by_loops(probability, askable, [5, 0, 1], 8)
    assert order_by_rarity(probability, askable, np.zeros(3), 100).size == 8


def distance_by_loops(vectors, labelled, number):
    unit = [v / np.linalg.norm(v) for v in vectors]
    centres = [v / np.linalg.norm(v) for v in labelled]
    chosen = []
    for _ in range(number):
        best, farthest = -1, -1.0
        for image, vector in enumerate(unit):
            distance = min(1 - float(vector @ centre) for centre in centres)
            if image not in chosen and distance > farthest:
                best, farthest = image, distance
        chosen.append(best)
        centres.append(unit[best])
    return chosen


def test_the_farthest_images_one_after_the_other():
    rng = np.random.default_rng(0)
    vectors, labelled = rng.normal(size=(10, 4)), rng.normal(size=(3, 4))
    found = order_by_distance(vectors, labelled, 10)
    assert found.tolist() == distance_by_loops(vectors, labelled, 10)


def test_without_labelled_images_the_middle_comes_first():
    vectors = np.array([[1.0, 0.0], [0.7, 0.7], [0.0, 1.0]])
    found = order_by_distance(vectors, np.zeros((0, 2)), 3)
    assert found[0] == 1 and sorted(found) == [0, 1, 2]


@pytest.mark.parametrize('rule', RULES)
def test_every_rule_chooses_different_images(rule):
    rng = np.random.default_rng(0)
    options = dict(
        probability=rng.random((9, 2)),
        askable=np.ones((9, 2), bool),
        present=np.zeros(2),
        vectors=rng.normal(size=(9, 3)),
        labelled=rng.normal(size=(2, 3)),
    )
    found = order_images(rule, 4, **options)
    assert len(set(found.tolist())) == 4
    assert sorted(order_images(rule, 20, **options)) == list(range(9))
    with pytest.raises(ValueError, match="got rule='best'"):
        order_images('best', 4, **options)


def test_mixed_takes_uncertain_images_that_are_far_apart():
    rng = np.random.default_rng(0)
    probability = np.full((12, 1), 0.01)
    probability[:10] = 0.5
    options = dict(
        probability=probability,
        askable=np.ones((12, 1), bool),
        present=np.zeros(1),
        vectors=rng.normal(size=(12, 3)),
        labelled=rng.normal(size=(2, 3)),
    )
    found = order_images('mixed', 2, **options)
    expected = order_by_distance(options['vectors'][:10], options['labelled'], 2)
    assert found.tolist() == expected.tolist()


def test_the_most_uncertain_one_of_each_cluster():
    angles = np.array([0.0, 0.01, 0.02, 1.5, 1.51, 1.52])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    values = np.array([1.0, 3.0, 2.0, 5.0, 4.0, 6.0])
    assert order_by_clusters(vectors, values, 2).tolist() == [5, 1]
    # Equal vectors have one cluster: the others follow by their values.
    found = order_by_clusters(np.ones((4, 2)), np.arange(4.0), 3)
    assert found.tolist() == [3, 2, 1]
    assert order_by_clusters(vectors[:0], values[:0], 3).size == 0
