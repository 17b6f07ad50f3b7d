# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve

from mlcl_plugin.evaluation.thresholds import (
    ThresholdTarget,
    best_threshold,
    find_thresholds,
    make_cuts,
)


def rates(scores, targets, threshold):
    """Precision, recall and F1 by their definitions; unknown entries do not count."""
    known = targets != -1
    predicted = (scores >= threshold) & known
    correct = (predicted & (targets == 1)).sum()
    positives = (targets == 1).sum()
    precision = correct / predicted.sum() if predicted.any() else 0.0
    return precision, correct / positives, 2 * correct / (predicted.sum() + positives)


def all_rates(scores, targets):
    """Of every cut that leaves something above it."""
    return [rates(scores, targets, s) for s in np.unique(scores[targets != -1])]


@st.composite
def cases(draw):
    """Scores on a grid, hence with ties, and targets with at least one positive."""
    size = draw(st.integers(1, 25))
    grid = draw(st.integers(1, 12))
    scores = draw(st.lists(st.integers(0, grid), min_size=size, max_size=size))
    targets = draw(
        st.lists(st.sampled_from([1, 0, 0, -1]), min_size=size, max_size=size)
    )
    targets[draw(st.integers(0, size - 1))] = 1
    return np.array(scores, dtype=np.float32) / grid, np.array(targets)


@settings(deadline=None, max_examples=200)
@given(case=cases())
def test_best_f1(case):
    scores, targets = case
    threshold, reached = best_threshold(scores, targets)
    best = max(f1 for _, _, f1 in all_rates(scores, targets))
    assert rates(scores, targets, np.float32(threshold))[2] == best and reached


@settings(deadline=None, max_examples=200)
@given(case=cases(), value=st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]))
def test_wanted_precision(case, value):
    scores, targets = case
    threshold, reached = best_threshold(
        scores, targets, ThresholdTarget('precision', value)
    )
    precision, recall, _ = rates(scores, targets, np.float32(threshold))
    fitting = [x for x in all_rates(scores, targets) if x[0] >= value]
    assert reached == bool(fitting) == (precision >= value)
    if reached:
        assert recall == max(r for _, r, _ in fitting)
    else:
        assert precision == max(p for p, _, _ in all_rates(scores, targets))


@settings(deadline=None, max_examples=200)
@given(case=cases(), value=st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]))
def test_wanted_recall(case, value):
    scores, targets = case
    threshold, reached = best_threshold(
        scores, targets, ThresholdTarget('recall', value)
    )
    precision, recall, _ = rates(scores, targets, np.float32(threshold))
    assert reached and recall >= value
    fitting = [x for x in all_rates(scores, targets) if x[1] >= value]
    assert precision == max(p for p, _, _ in fitting)


def test_middle_of_the_gap():
    scores, targets = np.array([0.9, 0.8, 0.4, 0.1]), np.array([1, 1, 0, 0])
    assert best_threshold(scores, targets)[0] == pytest.approx(0.6)
    # below the lowest score, half of it
    assert best_threshold(scores, np.array([0, 0, 0, 1]))[0] == pytest.approx(0.05)
    # nothing but zeros is all predicted, or nothing is
    assert best_threshold(np.zeros(3), np.array([1, 0, 1]))[0] == 0


@pytest.mark.parametrize(('num_positives', 'expected'), [(2, 0.85), (3, 0.45)])
def test_middle_of_equal_cuts(num_positives, expected):
    """Every cut below a positive has the same F1."""
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    places = {2: [0, 3], 3: [0, 4, 8]}[num_positives]
    targets = np.isin(np.arange(9), places).astype(int)
    f1 = np.array([rates(scores, targets, s)[2] for s in scores])
    assert np.flatnonzero(f1 == f1.max()).tolist() == places
    assert best_threshold(scores, targets)[0] == pytest.approx(expected)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_neighbouring_scores(dtype):
    """There is no number between them, and rounding does not let the lower one in."""
    for high in (1, 0.75, 0.1):
        high = dtype(high)
        low = np.nextafter(high, dtype(0))
        scores = np.array([high, low], dtype=dtype)
        threshold, _ = best_threshold(scores, np.array([1, 0]))
        assert (scores >= dtype(threshold)).tolist() == [True, False]


def test_cuts_against_scikit_learn():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 200)
    scores = np.round(rng.random(200) + 0.3 * targets, 1)
    precision, recall, thresholds = precision_recall_curve(targets, scores)
    cuts = make_cuts(scores, targets)
    np.testing.assert_array_equal(cuts.scores, thresholds[::-1])
    np.testing.assert_allclose(cuts.precision, precision[:-1][::-1])
    np.testing.assert_allclose(cuts.recall, recall[:-1][::-1])
    # unknown entries are as if they were not there
    more = np.concatenate([scores, rng.random(50)])
    hidden = np.concatenate([targets, np.full(50, -1)])
    for with_unknown, without in zip(make_cuts(more, hidden), cuts):
        np.testing.assert_array_equal(with_unknown, without)


def test_cuts_without_entries():
    cuts = make_cuts(np.array([0.5, 0.6]), np.array([-1, -1]))
    assert len(cuts.scores) == cuts.num_positive == 0
    cuts = make_cuts(np.array([0.5, 0.6]), np.array([0, 0]))
    assert np.isnan(cuts.recall).all() and cuts.precision.tolist() == [0, 0]


def test_per_label_and_global():
    rng = np.random.default_rng(1)
    targets = rng.integers(-1, 2, (80, 4))
    scores = rng.random((80, 4)).astype(np.float32) ** [1, 2, 3, 4]
    found = find_thresholds(scores, targets)
    assert found.learned.all() and found.reached.all()
    for label in range(4):
        known = targets[:, label] != -1
        f1 = [
            f1_score(targets[known, label], scores[known, label] >= t)
            for t in (found.values[label], *scores[::8, label])
        ]
        assert f1[0] == pytest.approx(max(f1))
    pooled = find_thresholds(scores, targets, per_label=False)
    assert len(set(pooled.values)) == 1
    assert pooled.values[0] == best_threshold(scores.flatten(), targets.flatten())[0]


def test_labels_that_say_nothing():
    """Without a positive, without a negative, without a known entry."""
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 2, (30, 4))
    targets[:, 1], targets[:, 2], targets[:, 3] = 0, 1, -1
    scores = rng.random((30, 4))
    found = find_thresholds(scores, targets)
    assert found.learned.tolist() == [True, False, False, False]
    everything = best_threshold(scores, targets)[0]
    assert (found.values[1:] == everything).all() and found.values[0] != everything


def test_unreached_precision():
    scores, targets = np.array([[0.9], [0.8], [0.7]]), np.array([[0], [1], [1]])
    found = find_thresholds(scores, targets, ThresholdTarget('precision', 0.9))
    # two of three is the best there is
    assert not found.reached[0] and found.values[0] == pytest.approx(0.35)


@pytest.mark.parametrize('text', ['f1', 'precision=0.9', 'recall=1'])
def test_parse(text):
    assert str(ThresholdTarget.parse(text)) == text


@pytest.mark.parametrize(
    'text', ['', 'F1', 'f1=0.5', 'precision', 'recall=', 'recall=0', 'precision=1.1']
)
def test_parse_nonsense(text):
    with pytest.raises(ValueError, match=f"Expected f1, .*got '{text}'"):
        ThresholdTarget.parse(text)


def test_bad_input():
    with pytest.raises(ValueError, match='that is present, got none'):
        best_threshold(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match='no label is present'):
        find_thresholds(np.ones((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r'one shape \(N, L\)'):
        find_thresholds(np.ones((3, 2)), np.zeros((2, 3)))
