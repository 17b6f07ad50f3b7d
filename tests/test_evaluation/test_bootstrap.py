# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcl_plugin.evaluation import average_precision, bootstrap, precision_recall_f1
from mlcl_plugin.evaluation.bootstrap import (
    draw_weights,
    interval,
)
from mlcl_plugin.evaluation.functional import weighted_average_precision, weighted_rates


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    num_images=st.integers(1, 30),
    num_labels=st.integers(1, 4),
    grid=st.sampled_from([1, 4, 1000]),
)
def test_weights_are_repetitions(seed, num_images, num_labels, grid):
    """As the metrics of a set that holds each image as often, ties included."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 2, (num_images, num_labels))
    scores = np.round(rng.random(targets.shape) * grid).astype(np.float32) / grid
    predicted = scores > 0.5
    weights = rng.integers(0, 4, (5, num_images))
    ap = weighted_average_precision(scores, targets, weights)
    rates = weighted_rates(predicted, targets, weights)
    for row in range(5):
        repeated = np.repeat(np.arange(num_images), weights[row])
        if len(repeated) == 0:
            assert np.isnan(ap[row]).all()
            continue
        expected = average_precision(scores[repeated], targets[repeated])
        np.testing.assert_allclose(ap[row], expected, rtol=1e-6)
        expected = precision_recall_f1(predicted[repeated], targets[repeated])
        for key, value in expected.items():
            assert rates[key][row] == pytest.approx(value, abs=1e-12), key


def test_draws(monkeypatch):
    weights = np.concatenate(list(draw_weights(50, 200, seed=3)))
    assert weights.shape == (200, 50) and (weights.sum(axis=1) == 50).all()
    # of Poisson's distribution, nearly
    assert weights.std() == pytest.approx(1, abs=0.05)
    monkeypatch.setattr(bootstrap, 'BLOCK_ENTRIES', 50 * 7)
    blocks = list(draw_weights(50, 200, seed=3))
    assert len(blocks) == 29 and (np.concatenate(blocks) == weights).all()
    assert (np.concatenate(list(draw_weights(50, 200, seed=4))) != weights).any()


def test_interval():
    resampled = np.append(np.arange(1001) / 1000 + 0.1, math.nan)
    # the bias of 0.1 is taken back
    assert interval(resampled, 0.5, 0.9) == pytest.approx((-0.05, 0.85))
    assert interval(resampled, 0.5, 0.9, (0, 1)) == pytest.approx((0, 0.85))
    assert all(map(math.isnan, interval(np.full(3, math.nan), 0.5)))
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match='level must be between 0 and 1'):
            interval(resampled, 0.5, level)


def test_coverage_of_map():
    """95 % intervals hold the true value about as often."""

    def draw(rng, num_images, num_labels):
        targets = (rng.random((num_images, num_labels)) < 0.2).astype(int)
        return rng.normal(size=targets.shape) + 1.5 * targets, targets

    rng = np.random.default_rng(0)
    truth = average_precision(*draw(rng, 100000, 1)).item()
    held = 0
    for number in range(60):
        scores, targets = draw(rng, 300, 4)
        estimate = average_precision(scores, targets).mean().item()
        resampled = [
            weighted_average_precision(scores, targets, weights).mean(axis=1)
            for weights in draw_weights(300, 200, number)
        ]
        low, high = interval(np.concatenate(resampled), estimate)
        assert low < estimate < high
        held += low <= truth <= high
    # 50 or fewer of 60 are one case in 1,000, if 57 are expected
    assert 51 <= held < 60


def test_bad_input():
    scores, targets = np.zeros((3, 2)), np.zeros((3, 2))
    for weights in (np.ones(3), np.ones((2, 4))):
        with pytest.raises(ValueError, match=r'weights \(R, N\), got'):
            weighted_average_precision(scores, targets, weights)
    with pytest.raises(ValueError, match='images must be positive, got 0'):
        next(draw_weights(0, 5))
    with pytest.raises(ValueError, match='resamples must be positive, got 0'):
        next(draw_weights(5, 0))
