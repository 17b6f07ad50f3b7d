# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.tuning.space import (
    Choice,
    Range,
    check_space,
    own_values,
    read_space,
)

LR = 'optim_wrapper.optimizer.lr'


def test_read_space():
    found = read_space(
        {'a.b': '0:1', 'c': '1e-4:0.1:log', 'd': '1:64:int:log'}, {'e': ['x', 2, None]}
    )
    assert found == {
        'a.b': Range(0.0, 1.0),
        'c': Range(1e-4, 0.1, log=True),
        'd': Range(1.0, 64.0, log=True, integer=True),
        'e': Choice(('x', 2, None)),
    }
    assert found['d'].samples() == [1, 64]


@pytest.mark.parametrize(
    ('ranges', 'choices', 'message'),
    [
        ({}, {}, 'nothing to search'),
        ({'a': '1'}, {}, 'a: expected a range as LOW:HIGH, LOW:HIGH:log'),
        ({'a': '1:x'}, {}, "got '1:x'"),
        ({'a': '1:2:lin'}, {}, 'expected a range'),
        ({'a': '1:2:log:log'}, {}, 'expected a range'),
        ({'a': '2:1'}, {}, 'LOW must be below HIGH'),
        ({'a': '1:1'}, {}, 'LOW must be below HIGH'),
        ({'a': '0:nan'}, {}, 'LOW must be below HIGH'),
        ({'a': '0:inf'}, {}, 'LOW must be below HIGH'),
        ({'a': '0:1.5:int'}, {}, 'expected integers'),
        ({'a': '0:1:log'}, {}, 'a LOW above 0'),
        ({'a': '0:3:int:log'}, {}, 'a LOW above 0'),
        ({}, {'a': [1]}, 'two or more values that differ'),
        ({}, {'a': 'SGD'}, r"got \['SGD'\]"),
        ({}, {'a': [1, 1.0]}, 'two or more values that differ'),
        ({'a': '0:1'}, {'a': [0, 1]}, 'both in ranges and in choices'),
    ],
)
def test_wrong_forms(ranges, choices, message):
    with pytest.raises(ValueError, match=message):
        read_space(ranges, choices)


def test_lists_are_choices():
    """Optuna stores their text, and the config gets the list."""
    found = Choice(([1, 2], [3, 4]))
    assert found.stored([3, 4]) == '[3, 4]' and found.by_name['[3, 4]'] == [3, 4]
    with pytest.raises(LookupError):
        found.stored('[3, 4]')


@pytest.mark.parametrize(
    ('ranges', 'message'),
    [
        ({'model.head.foo': '0:1'}, r"model.head \(LabelWiseClsHead\) takes no 'foo'"),
        ({'modle.head': '0:1'}, 'no run reads modle. Did you mean model'),
        ({'steps.step3.train_cfg.max_epochs': '1:2:int'}, "no step 'step3'"),
        ({'val_dataloader.batch_size': '1:9:int'}, 'cannot be searched'),
        ({'steps.step2.val_evaluator.topk': '1:9:int'}, 'Set it in the config'),
        ({'train_dataloader.dataset.indices': '1:9:int'}, 'cannot be searched'),
        ({'train_dataloader.dataset.dataset.indices': '1:9:int'}, 'cannot be searched'),
        (
            {'train_dataloader.batch_size': '2:6'},
            r'is an integer in the config .* train_dataloader.batch_size=2:6:int, or '
            r'fractions by train_dataloader.batch_size=2.0:6.0\.',
        ),
        ({LR: '0:1'}, 'searched and given in cfg_options'),
    ],
)
def test_wrong_keys(load_config, ranges, message):
    with pytest.raises(ValueError, match=message):
        check_space(load_config(), read_space(ranges, None), {LR: 0.1})


def test_fractions_for_an_integer_are_written_as_such(load_config):
    cfg = load_config()
    cfg.optim_wrapper.optimizer.lr = 1
    check_space(cfg, read_space({LR: '0.5:2'}, None))
    check_space(cfg, read_space({LR: '1.0:2.0'}, None))
    with pytest.raises(ValueError, match='is an integer in the config'):
        check_space(cfg, read_space({LR: '1:2'}, None))


def test_none_may_be_the_value_of_the_config(load_config):
    cfg = load_config()
    cfg.load_from = None
    space = read_space(None, {'load_from': [None, 'a.pth']})
    assert own_values(cfg, space) == {'load_from': None}
    assert own_values(cfg, read_space(None, {'missing': [None, 1]})) is None


def test_no_effect(load_config):
    """Every step sets the value itself."""
    cfg = load_config({'steps.step1.optim_wrapper': dict(optimizer=dict(lr=0.1))})
    with pytest.raises(ValueError, match=f'{LR} changes nothing'):
        check_space(cfg, read_space({LR: '0:1'}, None))


def test_every_choice_is_checked(load_config):
    """The second optimizer does not take what the config sets."""
    cfg = load_config({'optim_wrapper.optimizer.betas': (0.9, 0.99)})
    space = read_space(None, {'optim_wrapper.optimizer.type': ['AdamW', 'SGD']})
    with pytest.raises(ValueError, match="takes no 'betas'"):
        check_space(cfg, space)


def test_own_values(load_config):
    cfg = load_config()
    inside = {LR: '0.001:0.1', 'train_dataloader.batch_size': '1:9:int'}
    assert own_values(cfg, read_space(inside, None)) == {
        LR: 0.01,
        'train_dataloader.batch_size': 4,
    }
    for key, text in {LR: '0.1:1', 'train_cfg.val_interval': '1:3:int'}.items():
        assert own_values(cfg, read_space({key: text}, None)) is None
    position = 'train_dataloader.dataset.pipeline.2.prob'
    assert own_values(cfg, read_space({position: '0:1'}, None)) == {position: 0.5}
