# SPDX-License-Identifier: Apache-2.0
import copy
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict

from mlcl_plugin.engine import (
    base_config,
    changes_everywhere,
    check_step_options,
    check_steps,
    end_after,
    innermost_dataset,
    step_changes,
    step_config,
    step_dir,
    step_names,
)

STEPS = ConfigDict(
    step1=dict(train_cfg=dict(max_epochs=15)),
    step2=dict(
        optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01)),
        param_scheduler=[dict(type='StepLR', step_size=20)],
        val_evaluator=None,
    ),
)
BASE = dict(
    train_cfg=dict(by_epoch=True, max_epochs=3),
    optim_wrapper=dict(
        optimizer=dict(type='AdamW', lr=0.1, betas=(0.9, 0.99)), clip_grad=None
    ),
    param_scheduler=[dict(type='CosineAnnealingLR'), dict(type='LinearLR')],
    val_evaluator=dict(type='MultiLabelRecognitionMetric'),
)


@pytest.fixture
def cfg():
    return Config(
        copy.deepcopy(
            dict(BASE, steps=STEPS.to_dict(), runner_type='mmpretrain.StepwiseRunner')
        )
    )


@pytest.fixture
def child(tmp_path):
    """Function that lets MMEngine merge the changes of a step as a child config."""

    def merge(changes):
        (tmp_path / 'base.py').write_text(
            '\n'.join(f'{key} = {value!r}' for key, value in BASE.items())
        )
        lines = ["_base_ = ['base.py']"]
        lines += [f'{key} = {value!r}' for key, value in changes.items()]
        (tmp_path / 'child.py').write_text('\n'.join(lines))
        return Config.fromfile(tmp_path / 'child.py').to_dict()

    return merge


def plain(cfg):
    """Fields of a step's config but for those that its name decides."""
    fields = cfg.to_dict()
    fields.pop('experiment_name')
    return fields


def test_names(cfg):
    assert step_names(cfg) == ['step1', 'step2']
    for steps in (None, {}):
        assert step_names(Config(dict(steps=steps))) == []
    assert step_names(Config(BASE)) == []


def test_base(cfg):
    before = cfg.to_dict()
    base = base_config(cfg)
    assert base.to_dict() == BASE
    # a copy
    base.train_cfg.max_epochs = 99
    assert cfg.to_dict() == before
    assert base_config(Config(BASE)).to_dict() == BASE


def test_base_knows_its_file(write_config):
    path = write_config()
    assert base_config(Config.fromfile(path)).filename == str(path)


@pytest.mark.parametrize('name', ['step1', 'step2'])
def test_merged_as_a_child_config(cfg, child, name):
    before = cfg.to_dict()
    assert plain(step_config(cfg, name)) == child(STEPS[name].to_dict())
    assert cfg.to_dict() == before


def test_merged_fields(cfg):
    """What MMEngine's rules mean for this config."""
    first, second = (step_config(cfg, name) for name in ('step1', 'step2'))
    # merged
    assert first.train_cfg == dict(by_epoch=True, max_epochs=15)
    assert second.train_cfg == dict(by_epoch=True, max_epochs=3)
    # replaced: by _delete_, since it is a list, since it is no dict
    assert second.optim_wrapper == dict(
        optimizer=dict(type='SGD', lr=0.01), clip_grad=None
    )
    assert second.param_scheduler == [dict(type='StepLR', step_size=20)]
    assert second.val_evaluator is None
    assert first.optim_wrapper == BASE['optim_wrapper']


def test_step_is_a_copy(cfg):
    before = cfg.to_dict()
    step = step_config(cfg, 'step2')
    step.param_scheduler[0].step_size = 99
    step.train_cfg.max_epochs = 99
    assert cfg.to_dict() == before


def test_start_fields_are_left_out(cfg):
    cfg.steps.step2.update(init_from='epoch_1.pth', fresh_parts=['head.gate.'])
    expected = step_config(cfg, 'step2').to_dict()
    assert not expected.keys() & {'init_from', 'fresh_parts', 'steps', 'runner_type'}
    # and stay where they are
    assert cfg.steps.step2.init_from == 'epoch_1.pth'
    assert cfg.steps.step2.fresh_parts == ['head.gate.']


def test_work_dir(cfg, tmp_path):
    assert 'work_dir' not in step_config(cfg, 'step1')
    cfg.work_dir = str(tmp_path)
    for name in ('step1', 'step2'):
        assert Path(step_config(cfg, name).work_dir) == tmp_path / name
        assert Path(step_dir(cfg, name)) == tmp_path / name
    # the name of the folder is the step's, whatever it sets itself
    cfg.steps.step2.work_dir = 'elsewhere'
    assert Path(step_config(cfg, 'step2').work_dir) == tmp_path / 'step2'


def test_experiment_name(cfg, write_config):
    assert step_config(cfg, 'step1').experiment_name == 'train_step1'
    path = write_config()
    step = step_config(Config.fromfile(path), 'step2')
    assert step.experiment_name == f'{path.stem}_step2'
    assert step.filename == str(path)


@pytest.mark.parametrize(
    ('without', 'names'), [(False, r"'step1', 'step2'"), (True, '')]
)
def test_config_of_unknown_step(cfg, without, names):
    cfg = base_config(cfg) if without else cfg
    with pytest.raises(
        ValueError, match=rf"no step 'stp2', expected one of \[{names}\]"
    ):
        step_config(cfg, 'stp2')


def test_changes_everywhere(cfg):
    """A field set in each dict has its value in every step."""
    for changes in changes_everywhere(cfg):
        changes['train_cfg'] = dict(max_epochs=1)
    assert cfg.train_cfg.max_epochs == 1
    for name in step_names(cfg):
        assert step_config(cfg, name).train_cfg.max_epochs == 1
    assert list(changes_everywhere(cfg))[1:] == [cfg.steps.step1, cfg.steps.step2]
    single = Config(dict(BASE))
    (only,) = changes_everywhere(single)
    only['seed'] = 3
    assert single.seed == 3


def test_innermost_dataset():
    inner = dict(type='VOC')
    once = dict(type='RepeatDataset', times=2, dataset=inner)
    twice = dict(type='ClassBalancedDataset', dataset=once)
    for dataset in (inner, once, twice):
        assert innermost_dataset(dataset) is inner
    # several datasets, and a dataset that is built already, have no inner config
    several = dict(type='ConcatDataset', datasets=[inner, inner])
    assert innermost_dataset(several) is several
    built = dict(type='RepeatDataset', dataset=[1, 2])
    assert innermost_dataset(built) is built


def test_check_steps(cfg):
    check_steps(cfg)
    for steps in (None, {}, ['step1']):
        with pytest.raises(ValueError, match='expects steps=dict.*got'):
            check_steps(Config(dict(steps=steps)))
    with pytest.raises(ValueError, match='expects steps=dict.*got None'):
        check_steps(Config(BASE))
    cfg.steps.step2 = 3
    with pytest.raises(ValueError, match='steps.step2 must be a dict .* got 3'):
        check_steps(cfg)


@pytest.fixture
def warnings(monkeypatch):
    """What is logged: text and level."""
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.steps.print_log',
        lambda text, logger, level: logged.append((text, level)),
    )
    return logged


@pytest.mark.parametrize('key', ['steps.stp2.train_cfg.max_epochs', 'steps.step3'])
def test_unknown_step(key):
    with pytest.raises(ValueError, match=rf"{key}: .*\['step1', 'step2'\]"):
        check_step_options(STEPS, {'train_cfg.max_epochs': 1, key: 1})


def test_config_without_steps(warnings):
    check_step_options(None, {'train_cfg.max_epochs': 1})
    with pytest.raises(ValueError, match=r"no step 'step1', expected one of \[\]"):
        check_step_options(None, {'steps.step1.train_cfg.max_epochs': 1})
    assert warnings == []


@pytest.mark.parametrize(
    ('key', 'step'),
    [
        ('train_cfg.max_epochs', 'step1'),
        # deleted with the rest of the dict
        ('optim_wrapper.optimizer.weight_decay', 'step2'),
        ('optim_wrapper.optimizer', 'step2'),
        # part of a list, or of a field that is no dict any more
        ('param_scheduler.0.step_size', 'step2'),
        ('val_evaluator.classwise', 'step2'),
    ],
)
def test_without_effect(warnings, key, step):
    check_step_options(STEPS, {key: 1})
    ((text, level),) = warnings
    assert level == 30
    assert text.startswith(f'{key} has no effect on {step}')
    assert text.endswith(f'Use steps.{step}.{key}.')


@pytest.mark.parametrize(
    ('key', 'used', 'expected'),
    [
        # step1 sets it itself
        ('train_cfg.max_epochs', ['step2'], None),
        ('train_cfg.max_epochs', [], None),
        ('steps.step1.train_cfg.max_epochs', ['step1'], None),
        ('steps.step1.train_cfg.max_epochs', [], 'here: step step1 is not used'),
    ],
)
def test_used_steps(warnings, key, used, expected):
    check_step_options(STEPS, {key: 1}, used)
    assert [expected in text for text, _ in warnings] == [True] * bool(expected)


def test_option_that_changes_nothing(warnings):
    with pytest.raises(ValueError, match=r'step1 set it. Use steps.step1.train_cfg.'):
        check_step_options(STEPS, {'train_cfg.max_epochs': 1}, ['step1'])
    both = {'a': dict(x=1), 'b': dict(x=2)}
    with pytest.raises(ValueError, match=r'a and b set it. Use steps.a.x or steps.b.x'):
        check_step_options(both, {'x': 1})
    check_step_options(both, {'x': 1, 'steps.a.x': 1, 'steps.b.x': 1})
    assert warnings == []


def test_steps_that_an_option_removes(warnings):
    check_step_options(STEPS, {'train_cfg.max_epochs': 1, 'steps': None})
    assert warnings == []


def test_end_after():
    cfg = Config(dict(steps=dict(a=dict(x=1), b={}, c={})))
    end_after(cfg, 'b')
    assert step_names(cfg) == ['a', 'b']
    step_changes(cfg, 'a').x = 2
    assert cfg.steps.a.x == 2


@pytest.mark.parametrize('key', ['train_cfg.max_epochs', 'optim_wrapper.optimizer.lr'])
def test_warning_is_true(cfg, key):
    """The step that the warning names has the same config with and without it."""
    step = 'step1' if key == 'train_cfg.max_epochs' else 'step2'
    before = step_config(cfg, step).to_dict()
    cfg.merge_from_dict({key: 77})
    assert step_config(cfg, step).to_dict() == before
    cfg.merge_from_dict({f'steps.{step}.{key}': 77})
    assert step_config(cfg, step).to_dict() != before


@pytest.mark.parametrize(
    'keys',
    [
        ['train_cfg.val_interval'],
        ['train_cfg'],
        ['optim_wrapper.clip_grad.max_norm'],
        # asked for
        ['train_cfg.max_epochs', 'steps.step1.train_cfg.max_epochs'],
        ['steps.step2.optim_wrapper.optimizer.lr'],
    ],
)
def test_with_effect(warnings, keys):
    check_step_options(STEPS, dict.fromkeys(keys, 1))
    assert warnings == []
