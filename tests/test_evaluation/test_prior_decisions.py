# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from mlcl_plugin.evaluation.prior_decisions import prior_decisions

CLASSES = ['cat', 'dog', 'owl']


@pytest.mark.parametrize('strength', [0, 0.5, 1, 2])
def test_thresholds_are_adjusted_logits_at_a_half(strength):
    present, absent = [3, 50, 0], [97, 50, 100]
    found = prior_decisions(CLASSES, present, absent, strength)
    scores = np.random.default_rng(0).random((200, 3))
    for column in range(3):
        rate = (present[column] + 1) / (present[column] + absent[column] + 2)
        for score in scores[:, column]:
            logit = math.log(score / (1 - score))
            adjusted = logit - strength * math.log(rate / (1 - rate))
            expected = 1 / (1 + math.exp(-adjusted)) >= 0.5
            assert (score >= found.thresholds[column]) == expected


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        (([1, 2], [3, 4]), 'Expected 3 counts'),
        (([1, 2, -1], [3, 4, 5]), 'must not be negative, got -1'),
        (([1, 2, 3], [3, 4, 5], -1.0), 'strength must not be negative'),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        prior_decisions(CLASSES, *arguments)
