# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcl_plugin.data_check import duplicate_groups


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=20))
def test_duplicate_groups(values):
    digests = np.array([[value % 2, value // 2] for value in values], dtype=np.uint64)
    expected = {}
    for place, value in enumerate(values):
        expected.setdefault(value, []).append(place)
    expected = sorted(group for group in expected.values() if len(group) > 1)
    got = duplicate_groups(digests.reshape(-1, 2))
    assert [group.tolist() for group in got] == expected
