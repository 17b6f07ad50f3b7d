# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.label_names import describe_difference


@pytest.mark.parametrize('names', [[], ['a'], ['a', 'b']])
def test_same_labels(names):
    assert describe_difference(names, tuple(names)) is None


@pytest.mark.parametrize(
    ('expected', 'found', 'text'),
    [
        (
            'abc',
            'acb',
            "the same labels in another order: label 1 is 'c' in x.pth, expected 'b'",
        ),
        ('abc', 'abd', "other names: label 2 is 'd' in x.pth, expected 'c'"),
        ('abc', 'ab', "2 labels in x.pth, expected 3: 'c' is missing"),
        (
            'ab',
            'abcd',
            "4 labels in x.pth, expected 2: 'c', 'd' are in x.pth in addition",
        ),
        ('ab', 'acd', "3 labels in x.pth, expected 2: 'b' is missing; 'c', 'd' are in"),
        ('ab', 'aab', '3 labels in x.pth, expected 2, some of them twice'),
        ('abcdefgh', 'i', "'a', 'b', 'c', 'd', 'e' and 3 more are missing; 'i' is in"),
    ],
)
def test_difference(expected, found, text):
    assert text in describe_difference(expected, found, 'in x.pth')
