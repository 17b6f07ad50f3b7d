# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mlcl_plugin.engine.label_matching import LabelMatch, move_labels
from mlcl_plugin.errors import CheckpointError, OtherLabelsError

CASES = {
    'order': ('abcd', 'cadb'),
    'new': ('ab', 'xaby'),
    'dropped': ('abcd', 'db'),
    'all': ('abcd', 'xdya'),
    'one': ('a', 'xay'),
}
AXES = {'first': 0, 'queries': 1, 'columns': 1, 'last': 2}


def weights(num_labels, seed):
    torch.manual_seed(seed)
    shapes = {
        'first': (num_labels,),
        'queries': (1, num_labels, 3),
        'columns': (5, num_labels),
        'last': (2, 3, num_labels),
        'other': (num_labels, 2),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize('case', CASES)
def test_against_a_loop(case):
    old, new = CASES[case]
    state, own = weights(len(old), 0), weights(len(new), 1)
    before = {name: value.clone() for name, value in state.items()}
    match = LabelMatch.of(old, new, 'a.pth')
    assert sorted(move_labels(state, own, AXES, match)) == sorted(AXES)
    for name, axis in AXES.items():
        assert state[name].shape == own[name].shape
        for place, label in enumerate(new):
            if label in old:
                expected = before[name].select(axis, old.index(label))
            else:
                expected = own[name].select(axis, place)
            assert torch.equal(state[name].select(axis, place), expected), (name, label)
    assert torch.equal(state['other'], before['other'])


def test_fixed_queries_stay_apart():
    """Both models have the same ones; no label may get that of another."""
    fixed = torch.arange(12.0).reshape(4, 3)
    state = dict(queries=fixed[:3].clone())
    match = LabelMatch.of('abc', 'xaby', 'a.pth')
    move_labels(state, dict(queries=fixed), dict(queries=0), match)
    assert torch.equal(state['queries'][[1, 2]], fixed[[0, 1]])
    rows = {tuple(row) for row in state['queries'].tolist()}
    assert len(rows) == 4
    assert rows == {tuple(row) for row in fixed.tolist()}


def test_equal_initial_values():
    state = dict(bias=torch.tensor([0.0, 5]))
    match = LabelMatch.of('ab', 'abx', 'a.pth')
    move_labels(state, dict(bias=torch.zeros(3)), dict(bias=0), match)
    assert state['bias'].tolist() == [0, 5, 0]


def test_precision_is_the_models():
    state = dict(bias=torch.tensor([1.0, 2]).half())
    match = LabelMatch.of('ab', 'bax', 'a.pth')
    move_labels(state, dict(bias=torch.full((3,), 0.1)), dict(bias=0), match)
    assert torch.equal(state['bias'], torch.tensor([2, 1, 0.1]))


def test_text():
    assert str(LabelMatch.of('abc', 'bxa', 'a.pth')) == (
        "2 labels are kept, new are ['x'], left out are ['c']"
    )
    assert str(LabelMatch.of('ab', 'ba', 'a.pth')) == '2 labels are kept, none is new'


def test_errors():
    with pytest.raises(OtherLabelsError, match=r"a\.pth has 'a' twice"):
        LabelMatch.of('aba', 'ab', 'a.pth')
    with pytest.raises(OtherLabelsError, match="the data set has 'b' twice"):
        LabelMatch.of('ab', 'abb', 'a.pth')
    message = (
        r"a\.pth has no label .* has \['a', 'b'\], expected some of \['c'\]\. Tell"
    )
    with pytest.raises(OtherLabelsError, match=message):
        LabelMatch.of('ab', 'c', 'a.pth')
    message = r"'bias' .* the shape \(3,\), expected \(2,\) with 2 labels: \['a', 'b'\]"
    with pytest.raises(CheckpointError, match=message):
        move_labels(
            dict(bias=torch.ones(3)),
            dict(bias=torch.ones(1)),
            dict(bias=0),
            LabelMatch.of('ab', 'a', 'a.pth'),
        )
