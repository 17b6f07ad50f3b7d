# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mlcl_plugin.commands import make_parser
from mlcl_plugin.commands.train import merge_args
from mlcl_plugin.engine import StepwiseRunner
from tests.marks import rare

PATH = Path(__file__).parents[2] / 'tools/train.py'
spec = importlib.util.spec_from_file_location('tools_train', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

ALL_EPOCHS = [('step1', 0), ('step1', 1), ('step2', 0), ('step2', 1)]


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Function that calls the tool with a config and options, in this process."""

    def call(config, *options):
        args = [str(PATH), str(config), '--work-dir', str(tmp_path / 'work'), *options]
        monkeypatch.setattr(sys, 'argv', args)
        tool.main()
        return tmp_path / 'work'

    return call


def merged(config, *options):
    """The config as the command line leaves it."""
    args = make_parser('train').read([str(config), *options])
    return merge_args(Config.fromfile(config), args)


def read_scalars(folder):
    """The json log of one step."""
    (path,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_steps(train, write_config, record):
    best = {'default_hooks.checkpoint.save_best': 'multi-label/mAP'}
    work_dir = train(write_config(best))
    assert record.epochs() == ALL_EPOCHS
    for step in ('step1', 'step2'):
        assert (work_dir / step / 'epoch_2.pth').is_file()
        assert len(list((work_dir / step).glob('best_multi-label_mAP_*.pth'))) == 1
    loss = [line['loss_contrastive'] for line in read_scalars(work_dir / 'step2')[:2]]
    assert all(value > 0 for value in loss)


def test_single_step(train, write_config, record):
    """A config without steps is trained by the default runner."""
    config = write_config()
    lines = config.read_text().splitlines()
    lines = [line for line in lines if not line.startswith(('steps', 'runner_type'))]
    config.write_text('\n'.join(lines))
    work_dir = train(config)
    assert record.epochs() == [('work', 0), ('work', 1)]
    saved = (work_dir / 'epoch_2.pth').read_bytes()
    record.events.clear()
    train(config, '--resume')
    assert record.epochs() == []
    assert (work_dir / 'epoch_2.pth').read_bytes() == saved
    log = max(work_dir.glob('*/*.log')).read_text()
    assert f'finished: {work_dir}/epoch_2.pth is its last checkpoint, after 4 of' in log


def test_options_reach_both_steps(train, write_config, record):
    train(
        write_config(),
        '--cfg-options',
        'train_dataloader.batch_size=2',
        'train_cfg.max_epochs=1',
    )
    assert [start.batch_size for start in record.starts()] == [2, 2]
    assert [start.max_epochs for start in record.starts()] == [1, 1]


def test_options_reach_one_step(train, write_config, record):
    train(
        write_config(),
        '--cfg-options',
        'steps.step2.train_dataloader.batch_size=2',
        'steps.step1.train_cfg.max_epochs=1',
        'steps.step2.optim_wrapper.optimizer.lr=0.5',
    )
    first, second = record.starts()
    assert (first.batch_size, first.max_epochs, first.lr) == (4, 1, 0.01)
    assert (second.batch_size, second.max_epochs, second.lr) == (2, 2, 0.5)


def test_resume(train, write_config, record, ends_with_line, capsys):
    record.stop_at = ('step2', 1)
    with pytest.raises(record.Interruption):
        train(write_config())
    record.stop_at = None
    record.events.clear()

    work_dir = train(write_config(), '--resume')
    assert record.epochs() == [('step2', 1)]
    record.events.clear()
    # killed before the last step was marked as finished
    (work_dir / 'step2/finished_checkpoint').unlink()
    for _ in range(2):
        capsys.readouterr()
        train(write_config(), '--resume')
    assert record.epochs() == []
    output = capsys.readouterr().out
    assert output.count(' are finished ') == 1
    assert f'The last checkpoint is {work_dir}/step2/epoch_2.pth. Set' in output
    # with more epochs in one step, on request
    train(
        write_config(),
        *('--resume', str(work_dir / 'step2/epoch_2.pth')),
        *('--cfg-options', 'train_cfg.max_epochs=3'),
    )
    assert record.epochs() == [('step2', 2)]
    with ends_with_line(r'^train: Checkpoint .*epoch_9\.pth does not exist\.$'):
        train(write_config(), '--resume', str(work_dir / 'step1/epoch_9.pth'))


@pytest.fixture
def given(write_config, train, record, tmp_path):
    """Weights of a first step, in a folder of that name; nothing else is left."""
    work_dir = train(write_config({'train_cfg.max_epochs': 1}))
    record.events.clear()
    (tmp_path / 'other').mkdir()
    work_dir.joinpath('step1').rename(tmp_path / 'other/step1')
    shutil.rmtree(work_dir)
    return tmp_path / 'other/step1/epoch_1.pth'


@pytest.mark.parametrize(
    ('place', 'first_call', 'epoch'),
    [
        ('step1', [], 1),
        ('elsewhere', ['--resume'], 0),
        rare('step1', ['--resume'], 0),
        rare('elsewhere', [], 1),
    ],
)
def test_same_command_with_resume(
    train, write_config, record, given, tmp_path, place, first_call, epoch
):
    """Started from weights, interrupted before or after the first checkpoint."""
    if place == 'elsewhere':
        given = given.rename(tmp_path / 'weights.pth')
    options = ('--cfg-options', f'load_from={given}')
    record.stop_at = ('step2', epoch)
    with pytest.raises(record.Interruption):
        train(write_config(), *first_call, *options)
    record.stop_at = None
    record.events.clear()
    train(write_config(), '--resume', *options)
    assert record.epochs() == [('step2', e) for e in range(epoch, 2)]


def test_resume_without_what_was_loaded(train, write_config, record, given, tmp_path):
    """Plain ``--resume`` before the first checkpoint of a start from weights."""
    record.stop_at = ('step2', 0)
    with pytest.raises(record.Interruption):
        train(write_config(), '--cfg-options', f'load_from={given}')
    record.stop_at = None
    train(write_config(), '--resume')
    assert record.epochs() == [('step2', 0), ('step2', 1)]


def test_typo_in_name_of_step(train, write_config, record, ends_with_line):
    with ends_with_line(r"^train: .*'stp2', expected .*\['step1', 'step2'\]\.$"):
        train(write_config(), '--cfg-options', 'steps.stp2.train_cfg.max_epochs=1')
    assert record.events == []


def test_load_from(train, write_config, record, tmp_path, ends_with_line):
    work_dir = train(write_config())
    first = (work_dir / 'step1/epoch_2.pth').rename(tmp_path / 'first.pth')
    record.events.clear()
    train(write_config(), '--cfg-options', f'load_from={first}')
    assert record.epochs() == [('step2', 0), ('step2', 1)]
    with ends_with_line('gone.pth does not exist'):
        train(write_config(), '--cfg-options', 'load_from=gone.pth')


def test_no_validate(train, write_config):
    """Also where the config asks for the best checkpoint."""
    best = {'default_hooks.checkpoint.save_best': 'multi-label/mAP'}
    work_dir = train(write_config(best), '--no-validate')
    for step in ('step1', 'step2'):
        assert (work_dir / step / 'epoch_2.pth').is_file()
        lines = read_scalars(work_dir / step)
        assert lines and not any('multi-label/mAP' in line for line in lines)


def test_auto_scale_lr(train, write_config, record):
    """A batch of 4 where 8 is the base: half the rate, in both steps."""
    train(write_config(), '--auto-scale-lr')
    assert [start.lr for start in record.starts()] == [
        pytest.approx(0.005),
        pytest.approx(0.01),
    ]


def test_per_class_figures_are_logged(train, write_config):
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    config = write_config(
        {'visualizer': dict(type='UniversalVisualizer', vis_backends=backends)}
    )
    work_dir = train(config)
    for step in ('step1', 'step2'):
        lines = read_scalars(work_dir / step)
        (file,) = (work_dir / step).glob('*/vis_data/events.out.tfevents.*')
        events = event_accumulator.EventAccumulator(str(file))
        events.Reload()
        validations = [line for line in lines if 'multi-label/mAP' in line]
        assert len(validations) == 2
        keys = [f'multi-label/AP/{name}' for name in ('cat', 'dog', 'owl')]
        for line in validations:
            mean = sum(line[key] for key in keys) / 3
            assert line['multi-label/mAP'] == pytest.approx(mean)
        for key in (*keys, 'multi-label/mAP'):
            shown = [event.value for event in events.Scalars(key)]
            assert shown == pytest.approx([line[key] for line in validations])
        assert 'loss' in events.Tags()['scalars']


def test_work_dir(write_config):
    config = write_config()
    assert merged(config).work_dir == f'./work_dirs/{config.stem}'
    assert merged(config, '--work-dir', 'there').work_dir == 'there'
    config = write_config({'work_dir': 'configured'})
    assert merged(config).work_dir == 'configured'


def test_dataloader_options(write_config, monkeypatch):
    config = write_config()
    cfg = merged(config)
    assert cfg.train_dataloader.pin_memory is torch.cuda.is_available()
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.collate_fn == dict(type='default_collate')
    workers = ('--cfg-options', 'train_dataloader.num_workers=2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = merged(config, *workers)
    assert cfg.train_dataloader.pin_memory and cfg.train_dataloader.persistent_workers
    cfg = merged(config, '--no-pin-memory', '--no-persistent-workers', *workers)
    assert not cfg.train_dataloader.pin_memory
    assert not cfg.train_dataloader.persistent_workers


@pytest.mark.parametrize('gpu', [True, False])
def test_amp(write_config, monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    expected = 'AmpOptimWrapper' if gpu else 'AutocastOptimWrapper'
    cfg = merged(write_config(), '--amp')
    assert cfg.optim_wrapper.type == expected
    assert cfg.optim_wrapper.get('loss_scale') == ('dynamic' if gpu else None)
    # the second step has it too
    cfg.work_dir = 'unused'
    second = StepwiseRunner(cfg).step_config('step2').optim_wrapper
    assert second.type == expected and second.optimizer.type == 'SGD'


def test_resume_flag(write_config, tmp_path):
    config = write_config({'load_from': 'other.pth', 'work_dir': str(tmp_path / 'w')})
    # nothing is there yet
    cfg = merged(config, '--resume')
    assert not cfg.resume and cfg.load_from == 'other.pth'
    (tmp_path / 'w/step2').mkdir(parents=True)
    (tmp_path / 'w/step2/started_from').touch()
    for options in ([], ['--cfg-options', 'load_from=another.pth']):
        cfg = merged(config, '--resume', *options)
        assert cfg.resume is True and cfg.load_from is None
        cfg = merged(config, '--resume', 'step1/epoch_1.pth', *options)
        assert cfg.resume is True and cfg.load_from == 'step1/epoch_1.pth'
    cfg = merged(config)
    assert not cfg.get('resume') and cfg.load_from == 'other.pth'


def test_missing_config(train, tmp_path, ends_with_line):
    with ends_with_line('^train: .*gone.py'):
        train(tmp_path / 'gone.py')
