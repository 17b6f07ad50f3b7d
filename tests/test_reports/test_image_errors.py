# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.reports.image_errors import LEAST, extreme_images, image_errors


def oracle(scores, targets):
    errors = []
    for row, targets_of_row in zip(scores, targets):
        losses = []
        for score, target in zip(row, targets_of_row):
            score = min(max(float(score), LEAST), 1 - LEAST)
            if target == 1:
                losses.append(-math.log(score))
            elif target == 0:
                losses.append(-math.log(1 - score))
        errors.append(sum(losses) / len(losses) if losses else math.nan)
    return errors


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_errors(dtype):
    random = np.random.default_rng(0)
    scores = random.random((20, 6)).astype(dtype)
    scores[0], scores[1] = 0, 1
    targets = random.integers(-1, 2, (20, 6))
    targets[2] = -1
    np.testing.assert_allclose(
        image_errors(scores, targets), oracle(scores, targets), rtol=1e-9
    )


def dump(scores, targets):
    scores = np.array(scores)
    classes = [f'label {n}' for n in range(scores.shape[1])]
    return ScoreDump(
        scores, np.array(targets), classes, [f'{n}.jpg' for n in range(len(scores))]
    )


def test_extremes():
    """By hand: errors rise with the distance from the target."""
    scores = [[0.9], [0.5], [0.1], [0.2], [0.6]]
    targets = [[1], [1], [1], [0], [-1]]
    worst, best = extreme_images(dump(scores, targets), 2)
    assert worst == [2, 1]
    # image 3 has no label that is present, and image 4 none that is known
    assert best == [0]


def test_no_image_is_in_both_lists():
    worst, best = extreme_images(dump([[0.4]], [[1]]), 5)
    assert (worst, best) == ([0], [])
    random = np.random.default_rng(0)
    for number in range(1, 9):
        worst, best = extreme_images(
            dump(random.random((number, 3)), np.ones((number, 3))), 4
        )
        assert not set(worst) & set(best)
        assert len(worst) <= 4 and len(best) <= 4


def test_only_unknown_labels():
    assert extreme_images(dump([[0.4], [0.3]], [[-1], [-1]]), 3) == ([], [])


def test_equal_errors_keep_the_order():
    worst, best = extreme_images(dump([[0.5]] * 6, [[1]] * 6), 2)
    assert (worst, best) == ([0, 1], [2, 3])
