# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcl_plugin.evaluation.functional.label_rates import (
    RATES,
    LabelCounts,
    class_rates,
    count_labels,
    mean_rates,
    precision_recall_f1,
    weighted_rates,
)


def make_case(seed, num_images, num_classes):
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 2, (num_images, num_classes))
    return rng.random(targets.shape) < 0.4, targets


def ratio(numerator, denominator, otherwise=0.0):
    return numerator / denominator if denominator else otherwise


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31), num_images=st.integers(1, 8), width=st.integers(1, 5)
)
def test_rates_of_each_class(seed, num_images, width):
    predicted, targets = make_case(seed, num_images, width)
    rates = class_rates(count_labels(predicted, targets))
    for label in range(width):
        pairs = [
            (p, t) for p, t in zip(predicted[:, label], targets[:, label]) if t != -1
        ]
        true = sum(t == 1 for _, t in pairs)
        found = sum(p for p, _ in pairs)
        correct = sum(p and t == 1 for p, t in pairs)
        expected = {
            'precision': ratio(correct, found, math.nan),
            'recall': ratio(correct, true, math.nan),
            'F1': 2 * correct / (true + found) if true else math.nan,
        }
        for name, value in expected.items():
            assert rates[name][label] == pytest.approx(value, nan_ok=True), name


@pytest.mark.parametrize('absent_classes', ['skip', 'zero'])
def test_many_sets_of_counts(absent_classes):
    """To the last bit as each set alone."""
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 9, (2, 4, 6, 33))
    true[0, 0] = 0
    correct = np.minimum(true, predicted)
    counts = LabelCounts(*map(torch.from_numpy, (true, predicted, correct)))
    rates = mean_rates(counts, absent_classes)
    assert tuple(rates) == RATES
    for place in np.ndindex(4, 6):
        alone = LabelCounts(*(count[place] for count in counts))
        for name, value in mean_rates(alone, absent_classes).items():
            assert value == rates[name][place], name


def test_equal_weights_are_none():
    """To the last bit."""
    predicted, targets = make_case(1, 70, 13)
    targets[:, 4] = 0
    rates = weighted_rates(predicted, targets, np.ones((2, 70)))
    for name, value in precision_recall_f1(predicted, targets).items():
        assert rates[name].tolist() == [value, value]
