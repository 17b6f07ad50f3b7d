# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from mlcl_plugin.models.utils.training_only import (
    TrainingOnlyParts,
    is_part,
    training_only_prefixes,
)


class Parent(TrainingOnlyParts, nn.Module):
    training_only = ('tail',)

    def __init__(self, tail=False):
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.tail = nn.Linear(2, 1) if tail else None


class Child(Parent):
    training_only = ('vectors', 'counts')

    def __init__(self, tail=False):
        super().__init__(tail)
        self.vectors = nn.Parameter(torch.ones(3))
        self.register_buffer('counts', torch.ones(2))


class Sibling(TrainingOnlyParts, nn.Module):
    training_only = ('other',)


def test_names_of_a_class_and_its_parents():
    assert TrainingOnlyParts.training_only_names() == set()
    assert Parent.training_only_names() == {'tail'}
    assert Child.training_only_names() == {'tail', 'vectors', 'counts'}
    assert Sibling.training_only_names() == {'other'}


def test_prefixes():
    model = nn.ModuleDict(dict(head=Child(), neck=nn.Linear(1, 1), other=Parent()))
    assert training_only_prefixes(model) == (
        'head.counts',
        'head.tail',
        'head.vectors',
        'other.tail',
    )
    assert training_only_prefixes(Child()) == ('counts', 'tail', 'vectors')
    assert training_only_prefixes(nn.Linear(1, 1)) == ()
    wrapped = nn.DataParallel(model)
    assert training_only_prefixes(wrapped)[0] == 'module.head.counts'


@pytest.mark.parametrize(
    ('key', 'expected'),
    [
        ('head.tail', True),
        ('head.tail.weight', True),
        ('head.tails', False),
        ('head.tail2.weight', False),
        ('head', False),
        ('module.head.tail', False),
    ],
)
def test_is_part(key, expected):
    assert is_part(key, 'head.tail') is expected


def test_a_module_without_a_part_leaves_it_out():
    for given in (Parent(tail=True), Child(), Child(tail=True)):
        state = nn.ModuleDict(dict(a=given)).state_dict()
        keys = list(state)
        target = nn.ModuleDict(dict(a=Parent()))
        target.load_state_dict(state, strict=True)
        assert list(state) == keys
        assert torch.equal(target['a'].body.weight, given.body.weight)


def test_a_part_that_the_module_has_is_loaded():
    given = Child(tail=True)
    nn.init.constant_(given.vectors, 7)
    given.counts.fill_(5)
    target = Child(tail=True)
    target.load_state_dict(given.state_dict(), strict=True)
    for name, value in target.state_dict().items():
        assert torch.equal(value, given.state_dict()[name])
    target = Parent(tail=True)
    target.load_state_dict(given.state_dict(), strict=True)
    assert torch.equal(target.tail.weight, given.tail.weight)


def test_missing_and_foreign_parts_stay_errors():
    with pytest.raises(RuntimeError, match=r'Missing .*tail\.weight'):
        Parent(tail=True).load_state_dict(Parent().state_dict())
    state = {**Parent().state_dict(), 'other': torch.ones(1)}
    with pytest.raises(RuntimeError, match=r'Unexpected .*other'):
        Parent().load_state_dict(state)
