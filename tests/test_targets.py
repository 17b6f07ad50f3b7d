# SPDX-License-Identifier: Apache-2.0
import math
import re
import warnings

import numpy as np
import pytest
import torch

from mlcl_plugin.targets import (
    ABSENT,
    PRESENT,
    UNKNOWN,
    check_target_shape,
    check_targets,
    indices_to_targets,
    is_absent,
    is_known,
    is_present,
    is_unknown,
    list_label_indices,
    numbers_to_targets,
    read_label_indices,
    read_label_lists,
    read_target_matrix,
    read_target_vector,
)

NUMPY_TYPES = ['float16', 'float32', 'float64', 'int8', 'int16', 'int32', 'int64']
FLOATS = ['float16', 'float32', 'float64', 'bfloat16']
KINDS = [
    *((np.array, getattr(np, name)) for name in NUMPY_TYPES),
    *((torch.tensor, getattr(torch, name)) for name in (*NUMPY_TYPES, 'bfloat16')),
]
BOTH = [np.array, torch.tensor]
HARD = '1 (present), 0 (absent) or -1 (unknown)'
SOFT = f'{HARD}, or a soft target between 0 and 1'
ENDING = (
    'gt_label takes the indices of the present labels, each once; put a vector of '
    '1 / 0 / -1 into gt_score instead.'
)


def full(message):
    """A pattern for the whole of a message."""
    return f'^{re.escape(message)}$'


def test_meanings():
    assert (PRESENT, ABSENT, UNKNOWN) == (1, 0, -1)


# --- masks ----------------------------------------------------------------------


@pytest.mark.parametrize(('make', 'dtype'), KINDS)
@pytest.mark.parametrize('shape', [(5,), (5, 1), (1, 5)])
def test_masks(make, dtype, shape):
    values = [1, 0, -1, 0, 1]
    targets = make(values, dtype=dtype).reshape(shape)
    for mask, expected in (
        (is_present(targets), [v == 1 for v in values]),
        (is_absent(targets), [v == 0 for v in values]),
        (is_known(targets), [v != -1 for v in values]),
        (is_unknown(targets), [v == -1 for v in values]),
    ):
        assert mask.shape == targets.shape
        assert mask.dtype in (np.bool_, torch.bool)
        assert mask.reshape(-1).tolist() == expected


@pytest.mark.parametrize('make', BOTH)
def test_masks_of_soft_targets(make):
    """They are known, and neither present nor absent."""
    targets = make([0.25, 0.999])
    assert is_known(targets).tolist() == [True, True]
    for mask in (is_present, is_absent, is_unknown):
        assert mask(targets).tolist() == [False] * 2


@pytest.mark.parametrize('targets', [np.array([True, False]), torch.tensor([1, 0]) > 0])
def test_masks_of_bool(targets):
    assert is_present(targets).tolist() == [True, False]
    assert is_absent(targets).tolist() == [False, True]
    assert is_known(targets).tolist() == [True, True]


@pytest.mark.parametrize('make', BOTH)
def test_masks_of_nothing_and_of_a_scalar(make):
    assert is_present(make([])).tolist() == []
    assert is_known(make(-1)).tolist() is False
    assert is_present(make(1)).tolist() is True


# --- check_targets --------------------------------------------------------------


@pytest.mark.parametrize(('make', 'dtype'), KINDS)
@pytest.mark.parametrize('soft', [False, True])
def test_check_accepts(make, dtype, soft):
    check_targets(make([[1, 0], [-1, 1]], dtype=dtype), soft=soft)
    check_targets(make([[1, 0], [0, 1]], dtype=dtype), soft=soft, unknown=False)


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('unknown', [False, True])
@pytest.mark.parametrize(
    'targets',
    [
        np.array([True, False]),
        torch.tensor([True, False]),
        np.array([1, 0], dtype=np.uint8),
        torch.tensor([1, 0], dtype=torch.uint8),
        np.zeros((0, 3)),
        torch.zeros(3, 0),
        np.array(1),
        torch.tensor(0),
    ],
)
def test_check_accepts_other_kinds(targets, soft, unknown):
    check_targets(targets, soft=soft, unknown=unknown)


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('make', BOTH)
@pytest.mark.parametrize(
    ('value', 'dtype'),
    [
        (255, 'uint8'),
        (2, 'uint8'),
        (127, 'int8'),
        (-2, 'int8'),
        (257, 'int16'),
        (257, 'int64'),
        (-257, 'int32'),
        (256.0, 'float16'),
        (-0.5, 'float32'),
        (1.5, 'float16'),
        (math.nan, 'float16'),
        (math.nan, 'float64'),
        (math.inf, 'float32'),
        (-math.inf, 'float64'),
    ],
)
def test_check_refuses(make, value, dtype, soft):
    library = np if make is np.array else torch
    targets = make([[1, 0], [0, value]], dtype=getattr(library, dtype))
    expected = full(f'Targets hold {value}, expected {SOFT if soft else HARD}.')
    with pytest.raises(ValueError, match=expected):
        check_targets(targets, soft=soft)
    scalar = make(value, dtype=getattr(library, dtype))
    with pytest.raises(ValueError, match=expected):
        check_targets(scalar, soft=soft)


@pytest.mark.parametrize('make', BOTH)
def test_soft_targets_only_where_allowed(make):
    targets = make([0.0, 0.25, 1.0, -1.0])
    check_targets(targets, soft=True)
    message = f'Targets hold 0.25, expected {HARD}; soft targets are not allowed here.'
    with pytest.raises(ValueError, match=full(message)):
        check_targets(targets)


@pytest.mark.parametrize('make', BOTH)
def test_unknown_targets_only_where_allowed(make):
    hint = 'Unknown labels are left out by the heads of this project.'
    message = f'Targets hold -1, expected 1 (present) or 0 (absent). {hint}'
    with pytest.raises(ValueError, match=full(message)):
        check_targets(make([1, -1]), unknown=False)
    message = (
        'Targets hold -1.0, expected 1 (present) or 0 (absent), or a soft target '
        f'between 0 and 1. {hint}'
    )
    with pytest.raises(ValueError, match=full(message)):
        check_targets(make([0.5, -1.0]), soft=True, unknown=False)


@pytest.mark.parametrize('make', BOTH)
def test_check_says_what_and_where(make):
    targets = make([[1, 0, 0], [0, 1, 5], [7, 0, 0]])
    message = f'Scores hold 5 in a.csv, expected {HARD}.'
    with pytest.raises(ValueError, match=full(message)):
        check_targets(targets, name='Scores', where=' in a.csv')
    message = f'Targets hold 5 for label 2 of image 1, expected {HARD}.'
    with pytest.raises(ValueError, match=full(message)):
        check_targets(targets, where=lambda at: f' for label {at[1]} of image {at[0]}')


# --- read_label_indices ---------------------------------------------------------


@pytest.mark.parametrize('as_type', [list, tuple, np.array, torch.tensor])
@pytest.mark.parametrize('labels', [[], [0], [4, 1], [0, 1], [3, 0, 2, 1, 4]])
def test_label_indices(as_type, labels):
    indices = read_label_indices(as_type(labels), 5)
    assert indices.dtype == torch.int64 and indices.shape == (len(labels),)
    assert indices.tolist() == labels


@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'int16', 'int32', 'int64'])
@pytest.mark.parametrize('library', [np, torch])
def test_label_indices_of_any_integer_type(library, dtype):
    make = np.array if library is np else torch.tensor
    indices = read_label_indices(make([200, 3], dtype=library.int16), 300)
    assert indices.tolist() == [200, 3]
    indices = read_label_indices(make([100, 3], dtype=getattr(library, dtype)), 300)
    assert indices.dtype == torch.int64 and indices.tolist() == [100, 3]


@pytest.mark.parametrize('label', [3, np.int64(3), np.array(3), torch.tensor(3)])
def test_a_single_label_index(label):
    assert read_label_indices(label, 4).tolist() == [3]


def test_label_indices_of_arrays_that_torch_dislikes():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_label_indices(np.array([1, 2, 3])[::-1], 4).tolist() == [3, 2, 1]
        fixed = np.array([1, 2])
        fixed.setflags(write=False)
        assert read_label_indices(fixed, 4).tolist() == [1, 2]


@pytest.mark.parametrize(
    ('labels', 'shown'),
    [
        ([1.0, 2.0], '[1.0, 2.0]'),
        (np.array([0.5]), '[0.5]'),
        (math.nan, 'nan'),
        ([True, False], '[True, False]'),
        (np.array(True), 'True'),
        ([1 + 2j], '[(1+2j)]'),
        (['car'], "['car']"),
        ('car', 'car'),
        (None, 'None'),
        ([None, 1], '[None, 1]'),
        ({}, '{}'),
        ([[1, 2]], '[[1, 2]]'),
        ([[1], [2, 3]], '[[1], [2, 3]]'),
        (list(range(99)) + ['x'], f'{str(list(range(99)))[:200]} ...'),
    ],
)
def test_no_flat_list_of_integers(labels, shown):
    message = (
        f'gt_label is {shown} (image a.jpg), expected a flat list of integers, the '
        'indices of the present labels. Put a vector of 1 / 0 / -1 into gt_score '
        'instead.'
    )
    with pytest.raises(ValueError, match=full(message)):
        read_label_indices(labels, 4, where=' (image a.jpg)')


@pytest.mark.parametrize('as_type', [list, np.array, torch.tensor])
@pytest.mark.parametrize(
    ('labels', 'wrong'), [([0, 4], 4), ([-1, 2], -1), ([7, -3], -3), ([255], 255)]
)
def test_label_index_out_of_range(as_type, labels, wrong):
    message = (
        f'difficult holds label {wrong} (image 7), expected indices from 0 to 3 '
        '(num_classes=4). Set num_classes of pipeline, neck and head to the number of '
        "the dataset's classes."
    )
    with pytest.raises(ValueError, match=full(message)):
        read_label_indices(as_type(labels), 4, 'difficult', ' (image 7)')


@pytest.mark.parametrize('as_type', [list, np.array, torch.tensor])
@pytest.mark.parametrize(
    ('labels', 'text'),
    [
        ([1, 0, 1, 0], 'which looks like a vector with one entry per label'),
        ([0, 0], 'which looks like a vector with one entry per label'),
        ([1, 1], 'which looks like a vector with one entry per label'),
        ([2, 0, 2], 'which names label 2 twice'),
        ([3, 0, 0], 'which names label 0 twice'),
    ],
)
def test_label_named_twice(as_type, labels, text):
    message = f'gt_label is {labels} (image a.jpg), {text}. {ENDING}'
    with pytest.raises(ValueError, match=full(message)):
        read_label_indices(as_type(labels), 4, where=' (image a.jpg)')


# --- read_target_vector, check_target_shape --------------------------------------


@pytest.mark.parametrize(('make', 'dtype'), KINDS)
def test_target_vector(make, dtype):
    vector = read_target_vector(make([1, 0, -1], dtype=dtype), 3)
    assert vector.tolist() == [1, 0, -1]
    assert str(vector.dtype).endswith(str(make([0], dtype=dtype).dtype).split('.')[-1])


def test_target_vector_of_lists():
    assert read_target_vector([1, 0, -1], 3).tolist() == [1, 0, -1]
    assert read_target_vector((True, False), 2).tolist() == [True, False]
    assert read_target_vector([0.5, 1.0], 2, soft=True).tolist() == [0.5, 1]
    given = torch.tensor([1, 0])
    assert read_target_vector(given, 2) is given


@pytest.mark.parametrize('shape', [(), (0,), (2,), (4,), (1, 3), (3, 1)])
def test_target_vector_of_another_shape(shape):
    message = (
        f'score has the shape {shape} (image a.jpg), expected (3,), one entry per '
        'label (num_classes=3). Set num_classes of pipeline, neck and head to the '
        "number of the dataset's classes."
    )
    for call in (read_target_vector, check_target_shape):
        with pytest.raises(ValueError, match=full(message)):
            call(torch.zeros(shape), 3, name='score', where=' (image a.jpg)')


@pytest.mark.parametrize(
    'values', [[[1], [0, 1]], ['a', 'b'], None, [None, 1], {}, 'present']
)
def test_target_vector_that_is_no_array_of_numbers(values):
    message = (
        f'gt_score is {values} (image a.jpg), expected a vector of numbers, one per '
        'label.'
    )
    with pytest.raises(ValueError, match=full(message)):
        read_target_vector(values, 2, where=' (image a.jpg)')


@pytest.mark.parametrize('values', [[1, 2], np.array([1, 2]), torch.tensor([1, 2])])
def test_target_vector_of_wrong_values(values):
    message = f'Values of gt_score hold 2 (image a.jpg), expected {HARD}.'
    with pytest.raises(ValueError, match=full(message)):
        read_target_vector(values, 2, where=' (image a.jpg)')
    with pytest.raises(ValueError, match=r'hold 0\.5, .*; soft targets are not'):
        read_target_vector([1, 0.5], 2)


# --- indices_to_targets ---------------------------------------------------------


@pytest.mark.parametrize(
    ('present', 'unknown', 'expected'),
    [
        ([], [], [0, 0, 0, 0]),
        ([2], [], [0, 0, 1, 0]),
        ([3, 0], [[1]], [1, -1, 0, 1]),
        ([1], [[1, 2], [3]], [0, 1, -1, -1]),
        ([], [[0], [], [0, 1]], [-1, -1, 0, 0]),
    ],
)
def test_indices_to_targets(present, unknown, expected):
    def index(labels):
        return torch.tensor(labels, dtype=torch.int64)

    targets = indices_to_targets(index(present), 4, [index(x) for x in unknown])
    assert targets.dtype == torch.float32 and targets.tolist() == expected


@pytest.mark.parametrize('as_type', [list, np.array, torch.tensor])
@pytest.mark.parametrize('labels', [[2, 0, 0], [1, 0, 1, 0], [3, 3], [1, 2], []])
def test_repeats_where_they_are_allowed(as_type, labels):
    indices = read_label_indices(as_type(labels), 4, repeats=True)
    assert indices.dtype == torch.int64
    assert indices.tolist() == labels


def test_repeats_do_not_allow_other_mistakes():
    with pytest.raises(ValueError, match='difficult holds label 4, expected indices'):
        read_label_indices([4, 4], 4, 'difficult', repeats=True)
    with pytest.raises(ValueError, match='expected a flat list of integers'):
        read_label_indices([[0], [0]], 4, 'difficult', repeats=True)


@pytest.mark.parametrize('as_type', [list, tuple, np.array, torch.tensor])
@pytest.mark.parametrize('unknown', [[], [[]], [[1, 1, 3]], [[0], [3, 2]]])
@pytest.mark.parametrize('present', [[], [1], [3, 0]])
def test_numbers_to_targets_agrees_with_tensors(as_type, present, unknown):
    lists = [
        list_label_indices(as_type(x), 4, repeats=True) for x in (present, *unknown)
    ]
    assert all(type(number) is int for numbers in lists for number in numbers)
    targets = numbers_to_targets(lists[0], 4, lists[1:])
    expected = indices_to_targets(
        torch.tensor(present, dtype=torch.int64),
        4,
        [torch.tensor(x, dtype=torch.int64) for x in unknown],
    )
    assert targets.dtype == np.float32 and targets.tolist() == expected.tolist()


# --- read_target_matrix ----------------------------------------------------------


@pytest.mark.parametrize('dtype', ['int8', 'int64', 'float16', 'float64'])
def test_target_matrix(dtype):
    values = torch.tensor([[1, 0, -1], [0, 0, 1]], dtype=getattr(torch, dtype))
    targets = read_target_matrix(values)
    assert targets.dtype == torch.int8 and targets.tolist() == values.tolist()


@pytest.mark.parametrize('wrong', [2, -2, 0.5, -0.5, math.nan, math.inf, 256, 257, 255])
def test_target_matrix_with_a_wrong_value(wrong):
    assert read_target_matrix(torch.tensor([[1, 0], [wrong, 1]])) is None


def test_255_is_no_target():
    """-1 and 255 have the same bits."""
    assert read_target_matrix(torch.tensor([[255, 1]], dtype=torch.uint8)) is None
    targets = read_target_matrix(torch.tensor([[True, False]]))
    assert targets.tolist() == [[1, 0]]


# --- read_label_lists -----------------------------------------------------------


@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'int32', 'int64'])
def test_label_lists(dtype):
    lists = [[1], [], [2, 0], [0, 1, 2, 3]]
    labels = [torch.tensor(x, dtype=getattr(torch, dtype)) for x in lists]
    targets = read_label_lists(labels, 4)
    assert targets.dtype == torch.int8
    for row, present in zip(targets.tolist(), lists, strict=True):
        assert row == [int(label in present) for label in range(4)]


def test_label_lists_of_no_labels():
    assert read_label_lists([], 3).shape == (0, 3)
    empty = torch.zeros(0, dtype=torch.int64)
    assert read_label_lists([empty, empty], 3).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    'wrong',
    [
        torch.tensor([0, 4]),
        torch.tensor([-1]),
        torch.tensor([1, 1]),
        torch.tensor([1.0]),
        torch.tensor([True]),
        torch.tensor(1),
        torch.tensor([[1]]),
        torch.tensor([1j]),
        [1],
        None,
    ],
)
def test_label_lists_with_a_wrong_one(wrong):
    """Then each is read alone, to say which it is."""
    assert read_label_lists([torch.tensor([2]), wrong], 4) is None


@pytest.mark.parametrize('seed', range(5))
def test_label_lists_agree_with_indices(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.rand(9, generator=generator).topk(k).indices for k in (0, 1, 5, 9)]
    targets = read_label_lists(labels, 9)
    for row, indices in zip(targets, labels, strict=True):
        assert torch.equal(row.float(), indices_to_targets(indices, 9))
