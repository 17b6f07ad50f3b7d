# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.stats import fisher_exact

from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.reports import confused_pairs as module
from mlcl_plugin.reports.confused_pairs import confused_pairs

CLASSES = ('cat', 'dog', 'owl', 'sofa')


def make_dump(targets):
    images = [str(i) for i in range(len(targets))]
    return ScoreDump(np.zeros(targets.shape), targets, CLASSES, images)


def make_case(num_images=400, confusion=0.5, seed=0):
    """Dogs are often taken for cats, and missed then; the other errors are chance."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, 4)) < 0.2).astype(int)
    # cats lie on sofas, which is no confusion
    targets[:, 3] |= targets[:, 0] & (rng.random(num_images) < 0.8)
    predicted = (targets == 1) ^ (rng.random(targets.shape) < 0.05)
    taken = (targets[:, 1] == 1) & (targets[:, 0] == 0)
    taken &= rng.random(num_images) < confusion
    predicted[taken, 0], predicted[taken, 1] = True, False
    targets[rng.random(targets.shape) < 0.1] = -1
    return make_dump(targets), predicted


def count(dump, predicted, i, j):
    """The table of a pair, image by image."""
    table, missed = [[0, 0], [0, 0]], 0
    for target, guess in zip(dump.targets, predicted):
        if target[j] == 0 and target[i] != -1:
            table[int(target[i] == 0)][int(not guess[j])] += 1
            missed += bool(target[i] == 1 and guess[j] and not guess[i])
    return table, missed


def test_finds_the_confusion():
    dump, predicted = make_case()
    (pair,) = confused_pairs(dump, predicted)
    assert (pair['present'], pair['predicted']) == ('dog', 'cat')
    table, missed = count(dump, predicted, 1, 0)
    assert pair['images'] == table[0][0] and pair['missed'] == missed > 10
    total = sum(map(sum, table))
    expected = sum(table[0]) * (table[0][0] + table[1][0]) / total
    assert pair['expected'] == pytest.approx(expected)
    assert pair['lift'] == pytest.approx(table[0][0] / expected)


def test_adjusted_p_values():
    """All of them, with the pairs that cannot be listed as certain chance."""
    dump, predicted = make_case(confusion=0.1)
    p_values = {}
    for i in range(4):
        for j in range(4):
            if i != j:
                table, _ = count(dump, predicted, i, j)
                total = sum(map(sum, table))
                expected = sum(table[0]) * (table[0][0] + table[1][0]) / total
                p = fisher_exact(table, alternative='greater')[1]
                listed = table[0][0] > max(expected, 1)
                p_values[CLASSES[i], CLASSES[j]] = p if listed else 1.0
    order = sorted(p_values, key=p_values.get)
    adjusted, best = {}, 1.0
    for rank in range(len(order), 0, -1):
        best = min(best, p_values[order[rank - 1]] * len(order) / rank)
        adjusted[order[rank - 1]] = best
    pairs = confused_pairs(dump, predicted, max_pairs=99, max_rate=0.999)
    assert len(pairs) >= 3
    for pair in pairs:
        key = pair['present'], pair['predicted']
        assert pair['p_adjusted'] == pytest.approx(adjusted[key])
    excess = [pair['images'] - pair['expected'] for pair in pairs]
    assert excess == sorted(excess, reverse=True)
    assert confused_pairs(dump, predicted, 2, 0.999) == pairs[:2]


def test_chance_alone():
    """False discoveries are rare, although labels come together."""
    found = [len(confused_pairs(*make_case(confusion=0, seed=s))) for s in range(40)]
    assert sum(number > 0 for number in found) <= 6


def test_blocks(monkeypatch):
    dump, predicted = make_case(confusion=0.2)
    expected = confused_pairs(dump, predicted, max_rate=0.9)
    monkeypatch.setattr(module, 'BLOCK_ENTRIES', 4 * 3)
    assert confused_pairs(dump, predicted, max_rate=0.9) == expected


def test_nothing_to_confuse():
    for value in (0, 1, -1):
        dump = make_dump(np.full((5, 4), value))
        for guess in (True, False):
            assert confused_pairs(dump, np.full((5, 4), guess)) == []
    one = ScoreDump([[0.5]], [[1]], ['a'], ['x'])
    assert confused_pairs(one, np.array([[True]])) == []
    with pytest.raises(ValueError, match=r'predicted \(5, 4\), got \(5, 3\)'):
        confused_pairs(make_dump(np.zeros((5, 4))), np.zeros((5, 3), dtype=bool))
