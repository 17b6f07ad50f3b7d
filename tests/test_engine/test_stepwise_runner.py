# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mlcl_plugin.engine import StepwiseRunner
from mlcl_plugin.errors import CheckpointError

ALL_EPOCHS = [('step1', 0), ('step1', 1), ('step2', 0), ('step2', 1)]


def train(load_config, changes=None, **fields):
    """Train a tiny run; fields such as ``resume`` are set on the config."""
    cfg = load_config(changes)
    for key, value in fields.items():
        cfg[key] = value
    runner = RUNNERS.build(cfg)
    runner.train()
    return Path(cfg.work_dir)


kept = []


@pytest.fixture
def finished(load_config, record, tmp_path, tmp_path_factory):
    """The work folder of a run that has trained both steps."""
    work_dir = tmp_path / 'work'
    if not kept:
        kept.append(tmp_path_factory.mktemp('finished') / 'work')
        train(load_config).rename(kept[0])
        record.events.clear()
    shutil.copytree(kept[0], work_dir)
    for step in ('step1', 'step2'):
        for pointer in ('last_checkpoint', 'finished_checkpoint'):
            (work_dir / step / pointer).write_text(str(work_dir / step / 'epoch_2.pth'))
    return work_dir


def weights(path, ema=True):
    """The EMA weights of a checkpoint, or those that the optimizer works on."""
    checkpoint = torch.load(path, weights_only=False)
    if ema:
        return checkpoint['state_dict']
    return {
        key.removeprefix('module.'): value
        for key, value in checkpoint['ema_state_dict'].items()
        if key.startswith('module.')
    }


def assert_same(state, expected):
    """Compare all weights except the projector, which ``expected`` may lack."""
    shared = {key for key in state if 'projector' not in key}
    assert shared == {key for key in expected if 'projector' not in key}
    for key in shared:
        torch.testing.assert_close(
            state[key],
            expected[key],
            rtol=0,
            atol=0,
            msg=lambda msg, key=key: f'{key}: {msg}',
        )


def interrupt(load_config, record, step, epoch, **fields):
    record.stop_at = (step, epoch)
    with pytest.raises(record.Interruption):
        train(load_config, **fields)
    record.stop_at = None
    record.events.clear()


def test_both_steps(load_config, record):
    cfg = load_config()
    model = StepwiseRunner(cfg).train()
    work_dir = Path(cfg.work_dir)
    assert record.epochs() == ALL_EPOCHS
    # the model of the last step
    assert type(model).__name__ == 'ImageClassifier'
    assert model.head.projector is not None
    first, second = record.starts()
    assert (first.optimizer, first.lr) == ('AdamW', 0.01)
    assert (second.optimizer, second.lr) == ('SGD', 0.02)
    assert not any('projector' in key for key in first.model)
    assert (work_dir / 'step1/finished_checkpoint').is_file()
    assert (work_dir / 'step2/finished_checkpoint').is_file()
    # loss of both parts in the second step only
    log1, log2 = (
        next((work_dir / step).glob('*/vis_data/scalars.json')).read_text()
        for step in ('step1', 'step2')
    )
    assert 'loss_cls' in log1 and 'loss_contrastive' not in log1
    assert 'loss_cls' in log2 and 'loss_contrastive' in log2


def test_step_starts_from_ema_weights(load_config, record):
    work_dir = train(load_config)
    left = work_dir / 'step1/epoch_2.pth'
    start = record.starts()[1]
    assert_same(start.model, weights(left))
    assert_same(start.ema, weights(left))
    # a test that cannot tell them apart would show nothing
    raw = weights(left, ema=False)
    assert not torch.equal(start.model['neck.queries'], raw['neck.queries'])
    assert not torch.equal(
        start.model['backbone.bn1.running_mean'], raw['backbone.bn1.running_mean']
    )


def test_projector_is_fresh(load_config, record):
    """As the head is initialised: N(0, 0.02), no bias."""
    changes = {
        'steps.step2.model.head.projector.hidden_channels': 512,
        'steps.step2.optim_wrapper.optimizer.lr': 0.0,
    }
    work_dir = train(load_config, changes)
    start = record.starts()[1].model
    for layer in ('fc1', 'fc2'):
        assert not start[f'head.projector.{layer}.bias'].any()
        std = start[f'head.projector.{layer}.weight'].std().item()
        assert std == pytest.approx(0.02, rel=0.1)
    # the average knows no earlier values either
    ema = weights(work_dir / 'step2/epoch_2.pth')
    torch.testing.assert_close(
        ema['head.projector.fc1.weight'], start['head.projector.fc1.weight']
    )


def test_init_from(load_config, record):
    work_dir = train(load_config, {'steps.step2.init_from': 'epoch_1.pth'})
    start = record.starts()[1].model
    assert_same(start, weights(work_dir / 'step1/epoch_1.pth'))
    last = weights(work_dir / 'step1/epoch_2.pth')
    assert not torch.equal(start['neck.queries'], last['neck.queries'])


def test_without_ema(load_config, record):
    changes = {'custom_hooks': [dict(type='RecordHook')]}
    work_dir = train(load_config, changes)
    assert_same(record.starts()[1].model, weights(work_dir / 'step1/epoch_2.pth'))


def test_changes_of_a_step(load_config):
    runner = StepwiseRunner(load_config({'steps.step2.init_from': 'epoch_1.pth'}))
    first, second = runner.step_config('step1'), runner.step_config('step2')
    assert first.optim_wrapper.optimizer == dict(type='AdamW', lr=0.01)
    # replaced, not merged
    assert second.optim_wrapper.optimizer == dict(type='SGD', lr=0.02, momentum=0.9)
    # merged
    assert second.train_dataloader.batch_size == first.train_dataloader.batch_size
    assert second.model.head.num_classes == 3
    for cfg in (first, second):
        assert 'init_from' not in cfg and 'steps' not in cfg
    assert Path(first.work_dir).name == 'step1'
    assert Path(second.work_dir).name == 'step2'
    assert first.experiment_name != second.experiment_name


def test_config_is_left_alone(load_config):
    cfg = load_config()
    before = cfg.pretty_text
    StepwiseRunner(cfg).train()
    assert cfg.pretty_text == before


def test_not_training_is_a_plain_run(load_config, finished):
    """``test`` evaluates the config without its steps."""
    cfg = load_config()
    cfg.load_from = str(finished / 'step2/epoch_2.pth')
    runner = RUNNERS.build(cfg)
    assert isinstance(runner, StepwiseRunner)
    metrics = runner.test()
    assert 0 <= metrics['multi-label/mAP'] <= 100
    assert isinstance(runner.runner, Runner)
    assert runner.model is runner.runner.model
    with pytest.raises(AttributeError, match='no_such_thing'):
        _ = runner.no_such_thing


def test_resume_in_first_step(load_config, record):
    interrupt(load_config, record, 'step1', 1)
    work_dir = train(load_config, resume=True)
    assert record.epochs() == ALL_EPOCHS[1:]
    start = record.starts()[0]
    assert (start.epoch, start.iter) == (1, 2)
    assert_same(start.model, weights(work_dir / 'step1/epoch_1.pth', ema=False))
    assert_same(start.ema, weights(work_dir / 'step1/epoch_1.pth'))


def test_resume_in_second_step(load_config, record):
    interrupt(load_config, record, 'step2', 1)
    work_dir = train(load_config, resume=True)
    assert record.epochs() == [('step2', 1)]
    (start,) = record.starts()
    checkpoint = work_dir / 'step2/epoch_1.pth'
    assert_same(start.model, weights(checkpoint, ema=False))
    assert torch.equal(
        start.model['head.projector.fc1.weight'],
        weights(checkpoint, ema=False)['head.projector.fc1.weight'],
    )


def test_resume_between_steps(load_config, record):
    """The first step is finished, the second has not saved anything yet."""
    interrupt(load_config, record, 'step2', 0)
    work_dir = train(load_config, resume=True)
    assert record.epochs() == [('step2', 0), ('step2', 1)]
    assert_same(record.starts()[0].model, weights(work_dir / 'step1/epoch_2.pth'))


def test_resume_leaves_pointer_alone(load_config, record):
    """Other processes may be reading the pointer."""
    interrupt(load_config, record, 'step2', 1)
    pointer = Path(load_config().work_dir) / 'step2/last_checkpoint'
    before = pointer.stat()
    interrupt(load_config, record, 'step2', 1, resume=True)
    after = pointer.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_resume_with_empty_pointer(load_config, record, finished):
    """It goes on from the newest checkpoint that is good."""
    (finished / 'step2/finished_checkpoint').unlink()
    (finished / 'step2/epoch_2.pth').write_bytes(b'')
    (finished / 'step2/last_checkpoint').write_text('')
    train(load_config, resume=True)
    assert record.epochs() == [('step2', 1)]


def test_resume_without_good_checkpoint(load_config, record, finished):
    (finished / 'step2/finished_checkpoint').unlink()
    (finished / 'step2/last_checkpoint').write_text('')
    for path in (finished / 'step2').glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(
        CheckpointError, match=r'step2/last_checkpoint is empty.*delete'
    ):
        train(load_config, resume=True)
    assert record.events == []


def test_resume_in_moved_folder(load_config, record, tmp_path):
    interrupt(load_config, record, 'step2', 1)
    moved = Path(load_config().work_dir).rename(tmp_path / 'moved')
    # the second time with the pointer that the first one has set right
    interrupt(load_config, record, 'step2', 1, resume=True, work_dir=str(moved))
    pointer = moved / 'step2/last_checkpoint'
    assert pointer.read_text() == str(moved / 'step2/epoch_1.pth')
    train(load_config, resume=True, work_dir=str(moved))
    assert record.epochs() == [('step2', 1)]


def test_resume_between_steps_in_moved_folder(load_config, record, tmp_path):
    interrupt(load_config, record, 'step2', 0)
    moved = Path(load_config().work_dir).rename(tmp_path / 'moved')
    train(load_config, resume=True, work_dir=str(moved))
    assert record.epochs() == [('step2', 0), ('step2', 1)]
    assert_same(record.starts()[0].model, weights(moved / 'step1/epoch_2.pth'))


def test_resume_of_nothing(load_config, record):
    """``resume`` may be set from the first start on."""
    train(load_config, resume=True)
    assert record.epochs() == ALL_EPOCHS


def test_resume_same_as_uninterrupted(load_config, record, tmp_path):
    """If the order of images depends on the epoch only, a resumed run is equal."""
    changes = {
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=3),
            dict(type='PackInputs'),
        ]
    }
    whole = train(load_config, changes, work_dir=str(tmp_path / 'whole'))
    interrupt(
        load_config,
        record,
        'step1',
        1,
        changes=changes,
        work_dir=str(tmp_path / 'part'),
    )
    cfg = load_config({**changes, 'steps.step2.train_cfg.max_epochs': 1})
    cfg.work_dir, cfg.resume = str(tmp_path / 'part'), True
    RUNNERS.build(cfg).train()
    assert_same(
        weights(tmp_path / 'part/step1/epoch_2.pth'),
        weights(whole / 'step1/epoch_2.pth'),
    )


def test_all_finished(load_config, record, finished):
    with pytest.raises(ValueError, match=r'finished \(step1, step2\).*resume=False'):
        train(load_config, resume=True)
    assert record.events == []


@pytest.fixture
def first(finished, tmp_path):
    """A checkpoint of the first step, and nothing else of its run."""
    path = shutil.copy(finished / 'step1/epoch_1.pth', tmp_path / 'first.pth')
    shutil.rmtree(finished)
    return path


def test_load_from_starts_at_second_step(load_config, record, first):
    train(load_config, load_from=str(first))
    assert record.epochs() == [('step2', 0), ('step2', 1)]
    assert_same(record.starts()[0].model, weights(first))


def test_load_from_plain_weights(load_config, record, first):
    """Weights without anything else, such as converted ones."""
    state = weights(first)
    torch.save(dict(state_dict=state, meta={}), first)
    train(load_config, load_from=str(first))
    assert record.epochs() == [('step2', 0), ('step2', 1)]
    assert_same(record.starts()[0].model, state)
    assert_same(record.starts()[0].ema, state)


def test_load_from_then_interrupted(load_config, record, first):
    """A run that left out the first step does not go back to it."""
    interrupt(load_config, record, 'step2', 1, load_from=str(first))
    train(load_config, resume=True)
    assert record.epochs() == [('step2', 1)]
    with pytest.raises(ValueError, match='All steps in .* are finished'):
        train(load_config, resume=True)


@pytest.mark.parametrize('step1', ['none', 'finished'])
def test_load_from_then_interrupted_at_once(
    load_config, record, finished, tmp_path, step1
):
    """Killed before the first checkpoint of step 2: starts there again."""
    given = shutil.copy(finished / 'step1/epoch_1.pth', tmp_path / 'given.pth')
    if step1 == 'none':
        shutil.rmtree(finished)
    interrupt(load_config, record, 'step2', 0, load_from=str(given))
    mark = finished / 'step2/started_from'
    assert mark.read_text() == str(given)
    # twice, since the mark must outlive a start from it
    interrupt(load_config, record, 'step2', 0, resume=True)
    train(load_config, resume=True)
    assert record.epochs() == [('step2', 0), ('step2', 1)]
    assert_same(record.starts()[0].model, weights(given))
    # a start from scratch knows nothing of it
    interrupt(load_config, record, 'step1', 0)
    assert not mark.exists()


def test_resume_from_file_elsewhere(load_config, record, finished, tmp_path):
    """Goes on in a new folder, also after another interruption."""
    checkpoint = str(finished.rename(tmp_path / 'old') / 'step2/epoch_1.pth')
    interrupt(load_config, record, 'step2', 1, resume=True, load_from=checkpoint)
    train(load_config, resume=True)
    assert record.epochs() == [('step2', 1)]


@pytest.mark.parametrize('step', ['step1', 'step2'])
def test_resume_from_file(load_config, record, finished, step):
    train(load_config, resume=True, load_from=str(finished / step / 'epoch_1.pth'))
    expected = ALL_EPOCHS[1:] if step == 'step1' else ALL_EPOCHS[3:]
    assert record.epochs() == expected


def test_resume_from_file_forgets_what_followed(load_config, record, finished):
    """A run from an earlier checkpoint, interrupted, goes on from there."""
    checkpoint = str(finished / 'step1/epoch_1.pth')
    interrupt(load_config, record, 'step2', 1, resume=True, load_from=checkpoint)
    train(load_config, resume=True)
    assert record.epochs() == [('step2', 1)]


def test_resume_from_file_of_finished_step(load_config, record, finished):
    """The step counts as unfinished until it is finished again."""
    checkpoint = str(finished / 'step1/epoch_1.pth')
    interrupt(load_config, record, 'step1', 1, resume=True, load_from=checkpoint)
    train(load_config, resume=True)
    assert record.epochs() == ALL_EPOCHS[1:]


def test_fresh_start_forgets_older_run(load_config, record, finished):
    interrupt(load_config, record, 'step1', 1)
    # checkpoints stay, only what points to them goes
    assert (finished / 'step2/epoch_2.pth').is_file()
    train(load_config, resume=True)
    assert record.epochs() == ALL_EPOCHS[1:]


def test_missing_checkpoints(load_config, record, tmp_path):
    gone = str(tmp_path / 'step2/gone.pth')
    for resume in (False, True):
        with pytest.raises(FileNotFoundError, match='gone.pth does not exist'):
            train(load_config, load_from=gone, resume=resume)
    assert record.events == []
    with pytest.raises(FileNotFoundError, match='step1.epoch_7.pth does not exist'):
        train(load_config, {'steps.step2.init_from': 'epoch_7.pth'})


def test_pointer_to_deleted_checkpoint(load_config, record):
    interrupt(load_config, record, 'step1', 1)
    work_dir = Path(load_config().work_dir)
    (work_dir / 'step1/epoch_1.pth').unlink()
    message = 'epoch_1.pth does not exist.*delete that file to start anew'
    with pytest.raises(CheckpointError, match=message):
        train(load_config, resume=True)
    (work_dir / 'step1/last_checkpoint').unlink()
    record.events.clear()
    train(load_config, resume=True)
    assert record.epochs() == ALL_EPOCHS


def test_first_step_saves_nothing(load_config):
    changes = {
        'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.save_best': None,
        'default_hooks.checkpoint.save_last': False,
    }
    with pytest.raises(FileNotFoundError, match='Step step2 starts from .*step1'):
        train(load_config, changes)


def test_step_of_file_cannot_be_told(load_config, record, tmp_path):
    file = tmp_path / 'elsewhere.pth'
    torch.save({}, file)
    with pytest.raises(ValueError, match=r"elsewhere.pth.*\['step1', 'step2'\]"):
        train(load_config, resume=True, load_from=str(file))


def test_load_from_with_single_step(load_config, tmp_path):
    file = tmp_path / 'weights.pth'
    torch.save({}, file)
    cfg = load_config()
    del cfg.steps['step2']
    cfg.load_from = str(file)
    with pytest.raises(ValueError, match=r"\['step1'\].*steps.step1.load_from"):
        StepwiseRunner(cfg).train()


def test_first_step_takes_its_own_weights(load_config, record, first):
    """``steps.step1.load_from`` initialises the first step."""
    work_dir = train(load_config, {'steps.step1.load_from': str(first)})
    assert record.epochs() == ALL_EPOCHS
    assert_same(record.starts()[0].model, weights(first))
    assert_same(record.starts()[1].model, weights(work_dir / 'step1/epoch_2.pth'))


def keep(path, part):
    """Leave only the weights of one part of the model in a checkpoint."""
    state = {k: v for k, v in weights(path).items() if k.startswith(part)}
    torch.save(dict(state_dict=state, meta={}), path)


def test_second_step_refuses_part_of_a_model(load_config, record, first):
    keep(first, 'backbone.')
    with pytest.raises(ValueError, match=r'first.pth does not fit .*e\.g\. neck\.'):
        train(load_config, load_from=str(first))
    assert record.epochs() == []
    # a later resume is free to start from another file
    assert not Path(load_config().work_dir, 'step2/started_from').exists()


def test_second_step_refuses_other_classes(load_config, record, first):
    changes = {'model.neck.num_classes': 5, 'model.head.num_classes': 5}
    with pytest.raises(ValueError, match=r'3 of its .*another shape.* neck\.queries'):
        train(load_config, changes, load_from=str(first))
    assert record.epochs() == []


def test_second_step_adds_a_part(load_config, record, first):
    """Weights that the first step lacks must be named."""
    changes = {'steps.step2.model.neck.num_blocks_after': 2}
    with pytest.raises(ValueError, match=r'neck\.blocks_after\.1.* fresh_parts'):
        train(load_config, changes, load_from=str(first))
    assert record.epochs() == []

    changes['steps.step2.fresh_parts'] = ['neck.blocks_after.1.']
    train(load_config, changes, load_from=str(first))
    assert record.epochs() == [('step2', 0), ('step2', 1)]
    start = record.starts()[-1].model
    assert torch.equal(start['neck.queries'], weights(first)['neck.queries'])
    assert start['neck.blocks_after.1.query_proj.weight'].any()


def test_first_step_takes_a_backbone(load_config, record, first):
    keep(first, 'backbone.')
    interrupt(
        load_config,
        record,
        'step1',
        1,
        changes={'steps.step1.load_from': str(first)},
    )


def test_second_step_tells_what_is_new(load_config, first, tmp_path):
    """One line, and no warning of missing keys."""
    changes = {'custom_hooks': [dict(type='EMAHook', momentum=0.1)]}
    train(load_config, changes, load_from=str(first))
    (log,) = (tmp_path / 'work/step2').glob('*/*.log')
    assert log.read_text().count('head.projector starts fresh') == 1
    assert 'missing keys' not in log.read_text()


@pytest.mark.parametrize('steps', [None, {}, ['step1']])
def test_no_steps(steps):
    cfg = Config(dict(work_dir='unused', steps=steps))
    with pytest.raises(ValueError, match='expects steps=dict'):
        StepwiseRunner(cfg)


def test_step_is_no_dict():
    cfg = Config(dict(work_dir='unused', steps=dict(step1=dict(), step2=3)))
    with pytest.raises(ValueError, match='steps.step2 must be a dict .* got 3'):
        StepwiseRunner(cfg)
