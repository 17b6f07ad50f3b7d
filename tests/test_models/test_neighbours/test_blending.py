# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from mlcl_plugin.models.neighbours import Votes, blend, check_weights

NAN, INF = math.nan, math.inf


def to_votes(probabilities):
    p = torch.tensor(probabilities, dtype=torch.float64)
    return Votes(p.log().float(), (1 - p).log().float())


def test_loops():
    logits = torch.tensor([[2.0, -1.0, 0.0], [0.5, -8.0, 3.0]])
    first = [[0.9, 0.1, NAN], [0.0, 1.0, NAN]]
    second = [[0.2, NAN, NAN], [0.5, 0.25, 0.75]]
    weights = (0.2, 0.5, 0.3)
    found = blend(logits, [to_votes(first), to_votes(second)], weights).sigmoid()
    for image in range(2):
        for label in range(3):
            own = 1 / (1 + math.exp(-logits[image, label]))
            expected = weights[0] * own
            for weight, votes in zip(weights[1:], (first, second)):
                vote = votes[image][label]
                expected += weight * (own if math.isnan(vote) else vote)
            assert found[image, label].item() == pytest.approx(expected, abs=1e-6)


def test_without_any_vote():
    """The logit itself."""
    logits = torch.tensor([[-30.0, 0.0, 1e-3, 5.0, 60.0]])
    found = blend(logits, [to_votes([[NAN] * 5])], (0.3, 0.7))
    torch.testing.assert_close(found, logits)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    logits = torch.tensor([[-3.0, 2.0]])
    votes = [to_votes([[0.25, NAN]])]
    found = blend(logits.to(dtype), votes, (0.3, 0.7))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, blend(logits, votes, (0.3, 0.7)))


def test_order_near_0_and_1():
    """Scores that float32 cannot tell from 1 are still ordered."""
    logits = torch.tensor([[20.0, 21.0, -60.0, -61.0]])
    votes = Votes(
        torch.tensor([[-1e-9, -1e-10, -70.0, -71.0]]),
        torch.tensor([[-20.7, -23.0, 0.0, 0.0]]),
    )
    found = blend(logits, [votes], (0.3, 0.7))[0]
    assert found[1] > found[0] > found[2] > found[3] and found.isfinite().all()


def test_members_without_weight():
    logits, votes = torch.tensor([[0.5, NAN]]), to_votes([[0.2, 0.7]])
    assert torch.equal(
        blend(torch.tensor([[0.5]]), [to_votes([[0.2]])], (1, 0)), torch.tensor([[0.5]])
    )
    found = blend(logits, [votes], (0, 1)).sigmoid()
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.7]]))
    # All neighbours agree: certain.
    found = blend(torch.zeros(1, 2), [to_votes([[0.0, 1.0]])], (0, 1))
    assert found.tolist() == [[-INF, INF]]


@pytest.mark.parametrize(
    'weights', [(1,), (0.3, 0.8), (-0.1, 1.1), (0.2, 0.5, 0.3), (NAN, 0.5)]
)
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match='weights must'):
        check_weights(weights, 1)


def test_weights():
    assert check_weights([1, 0], 1) == (1.0, 0.0)
    assert check_weights((0.1, 0.2, 0.7), 2) == (0.1, 0.2, 0.7)


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError, match='weights must have 2 entries'):
        blend(torch.zeros(1, 1), [to_votes([[0.2]])], (0, 0, 1))
