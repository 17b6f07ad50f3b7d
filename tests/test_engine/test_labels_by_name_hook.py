# SPDX-License-Identifier: Apache-2.0
"""Trainings that start from a model of other labels."""

import copy
from pathlib import Path

import pytest
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.engine import CheckedRunner, LabelsByNameHook, StepwiseRunner
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.errors import CheckpointError, OtherLabelsError
from tests.conftest import CATEGORIES

LABELS = tuple(CATEGORIES.values())
HOOK = dict(type='LabelsByNameHook')
AXES = {'neck.queries': 1, 'head.classifier.weight': 0, 'head.classifier.bias': 0}
CASES = {
    'order': ('owl', 'cat', 'dog'),
    'new': ('owl', 'cat'),
    'dropped': ('pig', 'dog', 'owl', 'cat', 'cow'),
    'one for another': ('pig', 'owl', 'cat'),
}
MEMORY = {
    'model.head.projector': dict(hidden_channels=16, out_channels=8),
    'model.head.loss_contrastive': dict(
        type='LabelWiseContrastiveLoss',
        memory=dict(type='EmbeddingMemory', size=4, embed_dims=8),
    ),
}


@pytest.fixture
def make_runner(load_config):
    """Function that makes a runner of a config, with the hook unless it is None."""

    def make(changes=None, hook=HOOK, steps=False, **fields):
        cfg = load_config({'train_cfg.max_epochs': 2, **(changes or {})})
        if not steps:
            cfg.pop('steps'), cfg.pop('runner_type')
        if hook is not None:
            cfg.custom_hooks.append(copy.deepcopy(hook))
        for name, value in fields.items():
            cfg[name] = value
        return StepwiseRunner(cfg) if steps else CheckedRunner.from_cfg(cfg)

    return make


@pytest.fixture
def save(load_config, tmp_path):
    """Function that saves a random model of the tiny config for some labels."""

    def call(labels, changes=None, change=lambda content: None):
        numbers = {f'model.{x}.num_classes': len(labels) for x in ('neck', 'head')}
        cfg = load_config({**(changes or {}), **numbers})
        torch.manual_seed(7)
        model = MODELS.build(cfg.model)
        state = {
            name: torch.rand_like(value) if value.is_floating_point() else value + 1
            for name, value in model.state_dict().items()
        }
        content = dict(meta=dict(dataset_meta=dict(classes=labels)), state_dict=state)
        change(content)
        torch.save(content, tmp_path / 'trained.pth')
        return str(tmp_path / 'trained.pth')

    return call


@pytest.fixture
def start(make_runner, record):
    """Function that starts a training, ends it, and gives what it started with."""

    def call(*args, **kwargs):
        runner = make_runner(*args, **kwargs)
        record.stop_at = (Path(runner.work_dir).name, 0)
        with pytest.raises(record.Interruption):
            runner.train()
        record.stop_at = None
        return record.starts()[-1]

    return call


def expected(state, initial, old):
    """Each label by a loop: its old values, or those of the initial model."""
    result = {name: value.clone() for name, value in initial.items()}
    for name in initial:
        if name not in AXES:
            result[name] = state[name].clone()
            continue
        for place, label in enumerate(LABELS):
            if label in old:
                row = state[name].select(AXES[name], old.index(label))
                result[name].select(AXES[name], place).copy_(row)
    return result


def assert_equal(state, other):
    assert set(state) == set(other)
    for name, value in other.items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize('case', CASES)
def test_start(case, save, start):
    """Model and average start from the values of the labels that are kept."""
    path = save(CASES[case])
    found = start(load_from=path)
    fresh = start(hook=None)
    wanted = expected(read_checkpoint(path)['state_dict'], fresh.model, CASES[case])
    assert_equal(found.model, wanted)
    assert_equal(found.ema, wanted)
    assert found.iter == 0


def test_averaged_weights_of_a_run(make_runner, save, start, tmp_path):
    """A checkpoint of this project has averaged weights, and others beside them."""
    path = save(('owl', 'cat', 'dog'))
    make_runner({'train_cfg.max_epochs': 1}, load_from=path).train()
    content = read_checkpoint(tmp_path / 'work/epoch_1.pth')
    names = {f'module.{name}' for name in content['state_dict']}
    assert names <= set(content['ema_state_dict'])
    content['meta']['dataset_meta']['classes'] = old = ('dog', 'ape', 'cat')
    torch.save(content, path)
    found, fresh = start(load_from=path), start(hook=None)
    wanted = expected(content['state_dict'], fresh.model, old)
    assert_equal(found.model, wanted)
    assert_equal(found.ema, wanted)


@pytest.mark.parametrize('kind', ['ImageClassifier', 'MomentumClassifier'])
def test_memory_starts_anew(kind, save, start):
    changes = {**MEMORY, 'model.type': kind}
    path = save(('owl', 'cow'), changes)
    found = start(changes, load_from=path)
    fresh = start(changes, hook=None)
    state = read_checkpoint(path)['state_dict']
    for weights in (found.model, found.ema):
        assert weights['head.contrastive_module.memory.labels'].eq(-1).all()
        assert weights['head.contrastive_module.memory.num_writes'] == 0
        for name, value in state.items():
            if name.startswith('head.projector'):
                assert torch.equal(weights[name], value)
        if kind == 'MomentumClassifier':
            # Its first update takes the weights of the model.
            assert weights['momentum_encoder.steps'] == 0
        row = state['head.classifier.weight'][0]
        assert torch.equal(weights['head.classifier.weight'][2], row)
        new = fresh.model['head.classifier.weight'][:2]
        assert torch.equal(weights['head.classifier.weight'][:2], new)


def test_equal_labels(save, start):
    """Nothing changes, also not what other hooks make of the checkpoint."""
    path = save(
        LABELS, change=lambda content: content['state_dict'].pop('neck.queries')
    )
    found, without = start(load_from=path), start(load_from=path, hook=None)
    assert_equal(found.model, without.model)
    assert_equal(found.ema, without.ema)


def test_names_that_are_not_used(save, start, monkeypatch):
    """The log says so: the file names the labels of the data set."""
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.hooks.labels_by_name_hook.print_log',
        lambda text, *_: logged.append(text),
    )
    start(load_from=save(LABELS))
    assert logged == []
    start(hook=dict(HOOK, classes=LABELS[::-1]), load_from=save(LABELS))
    assert [
        text for text in logged if 'classes of LabelsByNameHook is not used' in text
    ]


def test_steps(save, make_runner, start, record, tmp_path):
    """Step 1 starts from the other labels, step 2 from step 1."""
    path = save(CASES['new'])
    fresh = start(hook=None)
    changes = {'train_cfg.max_epochs': 1, 'steps.step1.load_from': path}
    # A name of the file that differs does not change what step 1 left.
    hook = dict(HOOK, classes=('owl', 'dog'))
    make_runner(changes, hook, steps=True).train()
    first, second = record.starts()[-2:]
    state = read_checkpoint(path)['state_dict']
    assert_equal(first.model, expected(state, fresh.model, ('owl', 'dog')))
    left = read_checkpoint(tmp_path / 'work/step1/epoch_1.pth')
    assert tuple(left['meta']['dataset_meta']['classes']) == LABELS
    for name, value in left['state_dict'].items():
        assert torch.equal(second.model[name], value)


def test_start_at_the_second_step(save, make_runner, record, start):
    path = save(CASES['dropped'])
    changes = {'train_cfg.max_epochs': 1}
    make_runner(changes, steps=True, load_from=path).train()
    (second,) = record.starts()
    assert second.step == 'step2'
    state = read_checkpoint(path)['state_dict']
    wanted = expected(state, start(hook=None).model, CASES['dropped'])
    for name, value in wanted.items():
        assert torch.equal(second.model[name], value)


def test_resume(save, make_runner, record, tmp_path):
    """A run that was interrupted ends as one that was not, bit for bit."""
    path = save(CASES['dropped'])
    work = tmp_path / 'work'
    make_runner(load_from=path).train()
    whole = read_checkpoint(work / 'epoch_2.pth')
    record.stop_at = ('other', 1)
    options = dict(work_dir=str(tmp_path / 'other'))
    with pytest.raises(record.Interruption):
        make_runner(load_from=path, **options).train()
    record.stop_at = None
    make_runner(resume=True, **options).train()
    resumed = read_checkpoint(tmp_path / 'other/epoch_2.pth')
    for key in ('state_dict', 'ema_state_dict'):
        assert_equal(resumed[key], whole[key])


def test_resume_needs_equal_labels(make_runner, save, record, tmp_path):
    make_runner({'train_cfg.max_epochs': 1}, load_from=save(CASES['new'])).train()
    path = tmp_path / 'work/epoch_1.pth'
    content = read_checkpoint(path)
    content['meta']['dataset_meta']['classes'] = ('owl', 'dog', 'cat')
    torch.save(content, path)
    with pytest.raises(OtherLabelsError, match='in another order') as info:
        make_runner(load_from=str(path), resume=True).train()
    assert 'LabelsByNameHook' not in str(info.value)


@pytest.mark.parametrize('entry', ['val', 'test'])
def test_only_a_training_starts_so(entry, make_runner, save):
    runner = make_runner(load_from=save(('owl', 'dog', 'cat')))
    with pytest.raises(OtherLabelsError, match='in another order'):
        getattr(runner, entry)()


def nameless(content):
    content['meta'] = {}


def bare(content):
    state = content['state_dict']
    content.clear()
    content.update(state)


@pytest.mark.parametrize('change', [nameless, bare])
def test_names_of_the_option(change, save, start):
    old = CASES['dropped']
    path = save(old, change=change)
    with pytest.raises(OtherLabelsError, match=r'does not name its labels\. Tell them'):
        start(load_from=path)
    content = read_checkpoint(path)
    state = content.get('state_dict', content)
    found = start(hook=dict(HOOK, classes=list(old)), load_from=path)
    assert_equal(found.model, expected(state, start(hook=None).model, old))


def test_option_renames_labels(save, start):
    path = save(('Katze', 'Hund', 'Uhu'))
    hook = dict(HOOK, classes=['cat', 'dog', 'owl'])
    found = start(hook=hook, load_from=path)
    assert_equal(found.model, read_checkpoint(path)['state_dict'])


@pytest.mark.parametrize('classes', ['cat', []])
def test_wrong_option(classes):
    with pytest.raises(ValueError, match=r'classes of LabelsByNameHook must be a list'):
        LabelsByNameHook(classes)


def put_nan(content):
    content['state_dict']['neck.queries'][:] = torch.nan


FAULTS = {
    'none in common': (('pig', 'cow'), {}, None, OtherLabelsError, 'no label of the d'),
    'twice': (('cat', 'cat'), {}, None, OtherLabelsError, "has 'cat' twice"),
    'another width': (
        ('cat', 'pig'),
        {
            'model.neck.embed_dims': 8,
            'model.head.in_channels': 8,
        },
        None,
        CheckpointError,
        r"'neck.queries' .* has the shape \(1, 2, 8\), expected \(1, 2, 16\)",
    ),
    'a weight less': (
        ('cat', 'pig'),
        {},
        lambda content: content['state_dict'].pop('neck.queries'),
        CheckpointError,
        'does not fit the model: 1 of its .*neck.queries',
    ),
    'nan': (('cat', 'pig'), {}, put_nan, CheckpointError, 'values that are nan'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_faults(fault, save, make_runner, record):
    labels, changes, change, error, message = FAULTS[fault]
    path = save(labels, changes, change or (lambda content: None))
    with pytest.raises(error, match=message):
        make_runner(load_from=path).train()
    assert record.epochs() == []


def test_number_of_names(save, make_runner):
    path = save(('cat', 'dog'))
    hook = dict(HOOK, classes=['cat', 'dog', 'pig', 'cow'])
    message = r'has the shape .* with 4 labels: .* tell them by classes=\[\.\.\.\]'
    with pytest.raises(CheckpointError, match=message):
        make_runner(hook=hook, load_from=path).train()


def test_groups(save, make_runner):
    groups = {f'model.{part}.num_groups': 2 for part in ('neck', 'head')}
    path = save(('cat', 'dog', 'pig', 'cow'), groups)
    with pytest.raises(ValueError, match='The labels share num_groups=2 queries'):
        make_runner(groups, load_from=path).train()


def test_data_set_without_names(save, make_runner):
    runner = make_runner(load_from=save(('cat', 'dog')))
    loop = runner.train_loop
    loop.dataloader.dataset.dataset._metainfo.pop('classes')
    with pytest.raises(OtherLabelsError, match='training data set does not name them'):
        runner.load_or_resume()


@pytest.mark.parametrize('steps', [False, True])
def test_errors_without_the_hook_name_it(steps, save, make_runner):
    path = save(('owl', 'cat', 'dog'))
    mend = r"To start with .* add dict\(type='LabelsByNameHook'\) to custom_hooks\.$"
    with pytest.raises(OtherLabelsError, match=mend):
        make_runner(hook=None, load_from=path, steps=steps).train()
    path = save(CASES['dropped'])
    if steps:
        message = 'does not fit .* start from other labels with LabelsByNameHook'
        with pytest.raises(CheckpointError, match=message):
            make_runner(hook=None, load_from=path, steps=steps).train()
