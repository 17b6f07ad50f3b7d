# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.models.utils import labels_per_group


@pytest.mark.parametrize(
    ('num_classes', 'num_groups', 'size'),
    [
        (6, 3, 2),
        (7, 3, 3),
        (10, 7, 2),
        (9, 1, 9),
        (9, 9, 1),
        (1, 1, 1),
        (9605, 100, 97),
    ],
)
def test_size_of_a_group(num_classes, num_groups, size):
    assert labels_per_group(num_classes, num_groups) == size
    # The smallest with which the last label has a group.
    assert (num_classes - 1) // size < num_groups
    assert size == 1 or (num_classes - 1) // (size - 1) >= num_groups


def test_without_groups():
    assert labels_per_group(9, None) == 1


@pytest.mark.parametrize('num_groups', [0, -1, 10])
def test_bad_number_of_groups(num_groups):
    message = f'num_groups must be from 1 to num_classes=9, got {num_groups}'
    with pytest.raises(ValueError, match=message):
        labels_per_group(9, num_groups)
