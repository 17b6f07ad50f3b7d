# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import torch

from mlcl_plugin.evaluation import average_precision, choose_weights


def random_case(number=60, labels=3):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(-1, 2, (number, labels), generator=generator)
    scores = [
        (0.4 * targets + torch.rand(number, labels, generator=generator)).sigmoid()
        for _ in range(3)
    ]
    return scores, targets


@pytest.mark.parametrize('number', [1, 2, 3])
@pytest.mark.parametrize('steps', [1, 4])
def test_loops(number, steps):
    """No other weights on the grid are better."""
    scores, targets = random_case()
    weights, value = choose_weights(scores[:number], targets, steps)
    assert sum(weights) == pytest.approx(1)
    values = {}
    for parts in itertools.product(range(steps + 1), repeat=number):
        if sum(parts) == steps:
            blend = sum(p / steps * s.double() for p, s in zip(parts, scores))
            values[tuple(p / steps for p in parts)] = float(
                average_precision(blend, targets).mean()
            )
    assert value == pytest.approx(max(values.values()))
    assert values[weights] == pytest.approx(value)


def test_one_is_enough():
    _, targets = random_case()
    good, bad = targets.float(), -targets.float()
    assert choose_weights([bad, good, bad], targets)[1] == 1.0
    # Of equally good weights, the highest for the first.
    assert choose_weights([good, good], targets)[0] == (1.0, 0.0)


def test_labels_that_are_never_present():
    """They do not count."""
    scores, targets = random_case()
    expected = choose_weights([s[:, :2] for s in scores], targets[:, :2])
    targets[:, 2].clamp_(max=0)
    assert choose_weights(scores, targets) == expected
    with pytest.raises(ValueError, match='no label is present in any of the 60'):
        choose_weights(scores, targets.clamp(max=0))
