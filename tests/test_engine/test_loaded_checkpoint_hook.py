# SPDX-License-Identifier: Apache-2.0
"""What a runner says of a checkpoint before it uses it."""

import copy

import pytest
import torch

from mlcl_plugin.engine import CheckedRunner, StepwiseRunner
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.errors import CheckpointError, OtherLabelsError
from tests.marks import pairs

ORDER = (
    r'\.pth has other labels than the data set: the same labels in another order: '
    r"label 0 is 'owl' in .*\.pth, expected 'cat'\. If they mean the same, set "
    'allow_other_labels=True'
)
NAMES = (
    r"\.pth has other labels than the data set: other names: label 1 is 'cow' in "
    r".*\.pth, expected 'dog'"
)

kept = []


@pytest.fixture
def content(load_config, record, tmp_path_factory):
    """The checkpoint of a training of one epoch, which has two steps."""
    if not kept:
        cfg = load_config({'train_cfg.max_epochs': 1})
        cfg.work_dir = str(tmp_path_factory.mktemp('trained') / 'work')
        StepwiseRunner(cfg).train()
        record.events.clear()
        kept.append(read_checkpoint(f'{cfg.work_dir}/step1/epoch_1.pth'))
    return copy.deepcopy(kept[0])


@pytest.fixture
def save(content, tmp_path):
    """Function that changes the checkpoint and saves it in the folder of a step."""

    def call(change=lambda content: None):
        change(content)
        path = tmp_path / 'given/step1/epoch_1.pth'
        path.parent.mkdir(parents=True)
        torch.save(content, path)
        return str(path)

    return call


@pytest.fixture
def make_runner(load_config):
    def make(changes=None, steps=False, **fields):
        cfg = load_config({'train_cfg.max_epochs': 2, **(changes or {})})
        if not steps:
            cfg.pop('steps'), cfg.pop('runner_type')
        cfg.update(fields)
        return StepwiseRunner(cfg) if steps else CheckedRunner.from_cfg(cfg)

    return make


def labels(*names):
    def change(content):
        content['meta']['dataset_meta']['classes'] = names

    return change


def run(make_runner, entry, path, **fields):
    """Use a checkpoint as one of the entries does."""
    if entry == 'load_from':
        make_runner(load_from=path, **fields).train()
    elif entry == 'resume':
        make_runner(load_from=path, resume=True, **fields).train()
    elif entry == 'steps':
        make_runner(load_from=path, steps=True, **fields).train()
    elif entry == 'steps resume':
        make_runner(load_from=path, resume=True, steps=True, **fields).train()
    elif entry == 'val':
        make_runner(load_from=path, **fields).val()
    else:
        make_runner(load_from=path, **fields).test()


ENTRIES = ['load_from', 'resume', 'steps', 'steps resume', 'val', 'test']


@pytest.mark.parametrize('entry', ENTRIES)
def test_sound(entry, make_runner, save):
    run(make_runner, entry, save())


@pytest.mark.parametrize('entry', ENTRIES)
@pytest.mark.parametrize(
    ('names', 'message'),
    [(('owl', 'dog', 'cat'), ORDER), (('cat', 'cow', 'owl'), NAMES)],
)
def test_other_labels(entry, names, message, make_runner, save, record):
    path = save(labels(*names))
    with pytest.raises(OtherLabelsError, match=message):
        run(make_runner, entry, path)
    assert record.epochs() == []


@pytest.mark.parametrize('entry', ENTRIES)
def test_other_labels_are_allowed(entry, make_runner, save, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.label_names.print_log', lambda text, *_: logged.append(text)
    )
    path = save(labels('owl', 'dog', 'cat'))
    run(make_runner, entry, path, allow_other_labels=True)
    assert logged[0].endswith("expected 'cat'. This was allowed.")


def mmcls(content):
    meta = content['meta']
    meta.pop('dataset_meta')
    meta['CLASSES'] = ['owl', 'dog', 'cat']


def test_labels_of_mmcls(make_runner, save):
    with pytest.raises(OtherLabelsError, match=ORDER):
        run(make_runner, 'test', save(mmcls))


@pytest.mark.parametrize('meta', [{}, dict(dataset_meta=None), dict(dataset_meta={})])
def test_checkpoint_without_names(make_runner, save, meta, monkeypatch):
    path = save(lambda content: content.update(meta=meta))
    runner = make_runner(load_from=path)
    logged = []
    monkeypatch.setattr(runner.logger, 'info', logged.append)
    runner.test()
    message = f'The labels of {path} and the data set cannot be compared: {path} does'
    assert any(message in str(text) for text in logged)


def test_another_number_of_labels(make_runner, save, record):
    """A training may start from it, with a new classifier; nothing else can use it."""
    path = save(labels('cat', 'dog', 'owl', 'cow'))
    run(make_runner, 'load_from', path)
    message = "4 labels in .*, expected 3: 'cow' is in .*pth in addition"
    for entry in ('resume', 'test'):
        with pytest.raises(OtherLabelsError, match=message):
            run(make_runner, entry, path)


def weight(value):
    def change(content):
        content['state_dict']['neck.queries'] = value

    return change


FAULTS = {
    'nan': (weight(torch.full((3, 16), torch.nan)), "'neck.queries' has 48 of 48 val"),
    'integers': (weight(torch.ones(3, 16, dtype=torch.int64)), 'type torch.int64, exp'),
    'list': (weight([1.0]), "'neck.queries' is a list, expected a tensor"),
    'no weights': (lambda c: c.update(state_dict={}), 'has none|does not fit'),
    'weights of another model': (
        lambda c: c.update(state_dict={'encoder.weight': torch.ones(2)}),
        "has none .* It has 'encoder.weight'|does not fit",
    ),
    'weights as a list': (
        lambda c: c.update(state_dict=[torch.ones(2)]),
        "its 'state_dict' is a list, expected a dict|has no state_dict",
    ),
    'meta as a list': (lambda c: c.update(meta=[1]), "'meta' is a list|has no meta"),
}


@pytest.mark.parametrize(('entry', 'fault'), pairs(ENTRIES, FAULTS))
def test_faults(entry, fault, make_runner, save, record):
    change, message = FAULTS[fault]
    path = save(change)
    with pytest.raises(CheckpointError, match=rf'epoch_1\.pth.*({message})'):
        run(make_runner, entry, path)
    assert record.epochs() == []


def pop(*keys):
    def change(content):
        *path, last = keys
        for key in path:
            content = content[key]
        content.pop(last)

    return change


def put(value, *keys):
    def change(content):
        *path, last = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


FAULTS_OF_A_RESUME = {
    'no optimizer': (pop('optimizer'), 'has no optimizer'),
    'no message hub': (pop('message_hub'), 'has no message_hub'),
    'no meta': (pop('meta'), 'has no meta'),
    'no epoch': (pop('meta', 'epoch'), 'number of its epoch, got None'),
    'epoch as text': (
        put('x', 'meta', 'epoch'),
        'expected the number of its epoch, got ',
    ),
    'negative epoch': (
        put(-3, 'meta', 'epoch'),
        'expected the number of its epoch, got ',
    ),
    'infinite iterations': (
        put(float('inf'), 'meta', 'iter'),
        'expected the number of its iter, got inf',
    ),
    'seed as text': (put('x', 'meta', 'seed'), 'does not fit this run'),
    'empty optimizer': (put({}, 'optimizer'), 'does not fit this run'),
    'empty message hub': (put({}, 'message_hub'), 'does not fit this run|has no'),
    'average as a list': (put([1], 'ema_state_dict'), "'ema_state_dict' is a list"),
    'average is nan': (
        put(torch.full((3, 16), torch.nan), 'ema_state_dict', 'module.neck.queries'),
        "'neck.queries' has 48 of 48 values that are nan",
    ),
    'schedulers as text': (put('abc', 'param_schedulers'), 'does not fit this run'),
    'moments of another shape': (
        put(torch.ones(7), 'optimizer', 'state', 0, 'exp_avg'),
        r'exp_avg of the optimizer has the shape \(7,\), expected \(8, 3, 7, 7\)',
    ),
    'nan in the optimizer': (
        put(torch.full((4, 3, 3, 3), torch.nan), 'optimizer', 'state', 0, 'exp_avg'),
        'state of its optimizer has values that are nan',
    ),
    'one weight less': (
        pop('state_dict', 'neck.queries'),
        r'does not fit the model: 1',
    ),
}


@pytest.mark.parametrize(('steps', 'fault'), pairs([True, False], FAULTS_OF_A_RESUME))
def test_faults_of_a_resume(fault, steps, make_runner, save, record):
    change, message = FAULTS_OF_A_RESUME[fault]
    path = save(change)
    scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max=3)]
    changes = {'param_scheduler': scheduler} if 'schedulers' in fault else {}
    with pytest.raises(CheckpointError, match=rf'epoch_1\.pth.*({message})'):
        make_runner(changes, steps, load_from=path, resume=True).train()
    assert record.epochs() == []
