# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.errors import EngineError
from mlcl_plugin.export.agreement import check_agreement


@pytest.mark.parametrize(
    ('jumps', 'neighbours', 'agrees'),
    [
        ([], False, True),
        ([2e-4], False, False),
        ([2e-4], True, True),
        ([0.009, 0.009], True, True),
        ([0.009, 0.009, 0.009], True, False),
        ([0.011], True, False),
        ([np.nan], True, False),
    ],
)
def test_two_thousand_scores(jumps, neighbours, agrees):
    values = np.full((100, 20), 9e-5)
    values.flat[: len(jumps)] = jumps
    if agrees:
        check_agreement({1: np.zeros_like(values), 3: values}, 'the file', neighbours)
        return
    with pytest.raises(EngineError, match='the file differ .* batches of 3'):
        check_agreement({1: np.zeros_like(values), 3: values}, 'the file', neighbours)


def test_one_of_few_scores_may_jump():
    check_agreement({1: np.array([[0.002, 0.0]])}, 'the file', neighbours=True)
