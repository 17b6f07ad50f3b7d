# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve

from mlcl_plugin.evaluation.calibration import (
    expected_calibration_error,
    fit_temperatures,
    reliability,
)
from mlcl_plugin.evaluation.decisions import Decisions


def make_case(temperatures=(1.0, 1.0, 1.0), num_images=3000, seed=0):
    """Targets drawn from true probabilities, and scores sharper by the temperatures."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (num_images, len(temperatures)))
    targets = (rng.random(logits.shape) < expit(logits)).astype(int)
    return expit(logits * temperatures).astype(np.float32), targets


def test_recovers_temperatures():
    true = (0.5, 1.0, 2.5)
    scores, targets = make_case(true)
    np.testing.assert_allclose(fit_temperatures(scores, targets, True), true, rtol=0.1)
    pooled = fit_temperatures(scores, targets)
    assert len(set(pooled)) == 1 and 0.5 < pooled[0] < 2.5


def test_least_cross_entropy():
    """No temperature near by has less, by torch's loss."""
    scores, targets = make_case((2.0,), num_images=200)
    (best,) = fit_temperatures(scores, targets)

    def loss(temperature):
        logits = torch.from_numpy(logit(scores.astype(float))) / temperature
        return torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.from_numpy(targets).double()
        ).item()

    assert all(loss(best) <= loss(best * factor) for factor in (0.99, 0.999, 1.001))


def test_unknown_entries_are_left_out():
    scores, targets = make_case((2.0, 0.7))
    hidden = targets.copy()
    hidden[::3] = -1
    known = hidden[:, 0] != -1
    for per_label in (False, True):
        np.testing.assert_allclose(
            fit_temperatures(scores, hidden, per_label),
            fit_temperatures(scores[known], targets[known], per_label),
        )
        for result, expected in zip(
            reliability(scores, hidden, 15, per_label),
            reliability(scores[known], targets[known], 15, per_label),
        ):
            np.testing.assert_allclose(result, expected)


def test_labels_that_say_nothing():
    scores, targets = make_case((2.0, 2.0, 2.0, 2.0))
    targets[:, 1], targets[:, 2], targets[:, 3] = 0, 1, -1
    temperatures = fit_temperatures(scores, targets, per_label=True)
    assert (temperatures[1:] == fit_temperatures(scores, targets)[0]).all()
    assert temperatures[0] != temperatures[1]


def test_scores_that_say_nothing():
    """No temperature changes 0.5."""
    scores, targets = np.full((20, 2), 0.5), np.zeros((20, 2), dtype=int)
    targets[:5] = 1
    assert fit_temperatures(scores, targets).tolist() == [1, 1]


def test_certain_scores():
    """A score of 1 for what is absent is finitely wrong, and made less certain."""
    scores = np.array([[1.0], [1.0], [1.0], [0.0], [0.0]], dtype=np.float32)
    targets = np.array([[1], [1], [0], [0], [0]])
    (temperature,) = fit_temperatures(scores, targets)
    assert 5 < temperature < 20.01
    # perfectly separated: as sharp as allowed
    (temperature,) = fit_temperatures(
        np.array([[0.6], [0.4]], dtype=np.float32), np.array([[1], [0]])
    )
    assert temperature == pytest.approx(1 / 20, rel=1e-3)


def test_calibration_lowers_the_error():
    scores, targets = make_case((3.0, 0.4))
    before = expected_calibration_error(scores, targets, per_label=True)
    temperatures = fit_temperatures(scores, targets, per_label=True)
    calibrated = Decisions(['a', 'b'], [0.5, 0.5], temperatures).calibrate(scores)
    after = expected_calibration_error(calibrated, targets, per_label=True)
    assert (after < before / 2).all()


@pytest.mark.parametrize('num_bins', [1, 7, 15])
def test_against_scikit_learn(num_bins):
    scores, targets = make_case((2.0, 0.5))
    curve = reliability(scores, targets, num_bins)
    fraction, mean = calibration_curve(
        targets.flatten(), scores.astype(float).flatten(), n_bins=num_bins
    )
    held = curve.count > 0
    np.testing.assert_allclose(curve.present[held], fraction)
    np.testing.assert_allclose(curve.score[held], mean)
    assert curve.count.sum() == scores.size and len(curve.edges) == num_bins + 1
    error = (curve.count[held] * np.abs(fraction - mean)).sum() / scores.size
    assert expected_calibration_error(scores, targets, num_bins) == pytest.approx(error)
    for label in range(2):
        column = (scores[:, [label]], targets[:, [label]], num_bins)
        errors = expected_calibration_error(scores, targets, num_bins, per_label=True)
        assert errors[label] == pytest.approx(expected_calibration_error(*column))


def test_bins_by_hand():
    """0.5 begins the upper bin, and 1 is in it."""
    scores = np.array([[0.0], [0.25], [0.5], [1.0]])
    curve = reliability(scores, np.array([[0], [1], [0], [1]]), num_bins=2)
    assert curve.count.tolist() == [2, 2]
    assert curve.score.tolist() == [0.125, 0.75]
    assert curve.present.tolist() == [0.5, 0.5]
    error = expected_calibration_error(scores, np.array([[0], [1], [0], [1]]), 2)
    assert error == pytest.approx(0.5 * 0.375 + 0.5 * 0.25)


def test_label_without_a_known_entry():
    scores, targets = make_case((1.0, 1.0), num_images=10)
    targets[:, 1] = -1
    errors = expected_calibration_error(scores, targets, per_label=True)
    assert errors[0] > 0 and np.isnan(errors[1])
    assert expected_calibration_error(scores, targets) == pytest.approx(errors[0])


def test_bad_input():
    scores, targets = make_case(num_images=5)
    with pytest.raises(ValueError, match='from 0 to 1, got 2.0'):
        fit_temperatures(scores + 2 * (scores == scores[0, 0]) - scores[0, 0], targets)
    with pytest.raises(ValueError, match=r'one shape \(N, L\)'):
        reliability(scores[:, 0], targets[:, 0])
    with pytest.raises(ValueError, match='num_bins must be positive, got 0'):
        reliability(scores, targets, 0)
    with pytest.raises(ValueError, match='got 0 and 15'):
        fit_temperatures(scores, np.zeros_like(targets))
