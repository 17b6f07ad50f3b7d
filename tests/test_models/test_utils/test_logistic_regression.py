# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from mlcl_plugin.models.utils import logistic_regression
from mlcl_plugin.models.utils.logistic_regression import (
    choose_strength,
    fit_logistic,
    label_folds,
    log_likelihood,
    logistic_path,
)


def make(number, dims, labels, seed=0, unknown=0.1):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(number, dims, generator=generator, dtype=torch.float64)
    noise = torch.randn(number, labels, generator=generator, dtype=torch.float64)
    targets = (vectors[:, :labels] + 0.5 * noise > 0.3).long()
    hidden = torch.rand(number, labels, generator=generator) < unknown
    return vectors, targets.masked_fill(hidden, -1)


def loss_by_loops(vectors, targets, label, weight, bias, strength):
    """The problem of scikit-learn's LogisticRegression, image by image."""
    loss = sum(float(w) ** 2 for w in weight) / 2
    for vector, row in zip(vectors, targets):
        if row[label] >= 0:
            sign = 1 if row[label] == 1 else -1
            margin = float(vector @ weight + bias)
            loss += strength * math.log1p(math.exp(-sign * margin))
    return loss


@pytest.mark.parametrize(('number', 'dims'), [(30, 6), (12, 40)])
@pytest.mark.parametrize('strength', [0.05, 3.0])
def test_no_step_in_any_direction_is_better(number, dims, strength):
    vectors, targets = make(number, dims, 3)
    weight, bias = fit_logistic(vectors, targets, strength)
    generator = torch.Generator().manual_seed(1)
    for label in range(3):
        best = loss_by_loops(
            vectors, targets, label, weight[label], bias[label], strength
        )
        for _ in range(20):
            step = torch.randn(dims + 1, generator=generator, dtype=torch.float64)
            step *= 0.02 / step.norm()
            other = loss_by_loops(
                vectors,
                targets,
                label,
                weight[label] + step[:-1],
                bias[label] + step[-1],
                strength,
            )
            assert other > best - 1e-7


@pytest.mark.parametrize(('number', 'dims'), [(30, 6), (12, 40)])
def test_agrees_with_scikit_learn(number, dims):
    linear_model = pytest.importorskip('sklearn.linear_model')
    vectors, targets = make(number, dims, 2, unknown=0)
    strengths = [0.01, 1.0, 20.0]
    for strength, found in zip(strengths, logistic_path(vectors, targets, strengths)):
        for label in range(2):
            other = linear_model.LogisticRegression(
                C=strength, tol=1e-10, max_iter=9999
            )
            other.fit(vectors.numpy(), targets[:, label].numpy())
            assert found.weight[label].numpy() == pytest.approx(
                other.coef_[0], abs=2e-3
            )
            assert float(found.bias[label]) == pytest.approx(
                other.intercept_[0], abs=2e-3
            )


def test_labels_that_cannot_be_learned_get_their_frequency():
    vectors, targets = make(10, 4, 3, unknown=0)
    targets[:, 0], targets[:, 1] = 1, 0
    targets[3:, 2] = -1
    targets[:3, 2] = 1
    weight, bias = fit_logistic(vectors, targets, 1.0)
    assert not weight.any()
    wanted = [math.log(11 / 1), math.log(1 / 11), math.log(4 / 1)]
    assert bias.tolist() == pytest.approx(wanted)


def test_one_image_and_equal_images():
    weight, _ = fit_logistic(torch.ones(1, 3), torch.tensor([[1, 0]]), 1.0)
    assert weight.shape == (2, 3)
    vectors = torch.ones(4, 3)
    linear = fit_logistic(vectors, torch.tensor([[1], [0], [0], [0]]), 1.0)
    assert linear(vectors).sigmoid().ravel().tolist() == pytest.approx(
        [0.25] * 4, abs=1e-3
    )


def test_strength_of_noise_is_small_and_that_of_signal_large():
    vectors, targets = make(60, 5, 3, unknown=0)
    noise = targets[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    strengths = [1e-3, 0.1, 10.0]
    small, _ = choose_strength(vectors, noise, strengths)
    large, value = choose_strength(vectors, targets, strengths)
    assert small < large
    assert value > log_likelihood(torch.zeros(60, 3), targets)


def test_rows_of_an_image_are_left_out_together():
    # Views of an image are alike, and labels are chance: only a leak predicts them.
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(40, 50, generator=generator)
    targets = (torch.rand(40, 1, generator=generator) < 0.5).long()
    images = torch.arange(40).repeat_interleave(3)
    vectors = base[images] + 0.01 * torch.randn(120, 50, generator=generator)
    strengths = [1e-4, 10.0]
    together, _ = choose_strength(vectors, targets[images], strengths, images)
    apart, _ = choose_strength(vectors, targets[images], strengths)
    assert (together, apart) == (1e-4, 10.0)


def test_without_anything_to_choose_by_the_middle_one_is_taken():
    vectors, targets = torch.randn(1, 3), torch.tensor([[1]])
    strength, value = choose_strength(vectors, targets, [1.0, 2.0, 3.0])
    assert strength == 2.0 and math.isnan(value)


def test_folds_share_the_images_of_every_label():
    _, targets = make(50, 5, 5, unknown=0)
    targets[:, 4] = 0
    targets[:5, 4] = 1
    folds = label_folds(targets, 5)
    assert folds.bincount().tolist() == [10] * 5
    assert [int(targets[folds == k, 4].sum()) for k in range(5)] == [1] * 5


def test_wrong_input():
    with pytest.raises(ValueError, match=r'vectors \(N, D\)'):
        fit_logistic(torch.zeros(2, 3), torch.zeros(3, 1), 1.0)
    with pytest.raises(ValueError, match='strengths must be positive'):
        fit_logistic(torch.zeros(2, 3), torch.zeros(2, 1), 0.0)


@pytest.mark.parametrize(('number', 'dims'), [(400, 12), (20, 60)])
def test_many_vectors_are_solved_in_single_precision(number, dims, monkeypatch):
    vectors, targets = make(number, dims, 3)
    exact = fit_logistic(vectors, targets, 0.3)
    monkeypatch.setattr(logistic_regression, 'LARGE', 0)
    # in double precision where the vectors are
    assert torch.equal(fit_logistic(vectors, targets, 0.3).weight, exact.weight)
    rough = fit_logistic(vectors.float(), targets, 0.3)
    assert rough.weight.dtype == torch.float32
    assert not torch.equal(rough.weight, exact.weight.float())
    expected = exact(vectors).sigmoid()
    assert (rough(vectors.float()).sigmoid() - expected).abs().max() < 1e-3
