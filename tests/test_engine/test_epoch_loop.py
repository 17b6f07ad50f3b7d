# SPDX-License-Identifier: Apache-2.0
"""Runs that go on inside an epoch."""

import os

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, PARAM_SCHEDULERS
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from mlcl_plugin.engine import CheckedRunner
from mlcl_plugin.engine.dataloader import with_order
from mlcl_plugin.engine.epoch_loop import ResumableEpochLoop
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.errors import CheckpointError
from tests.child_process import exit_code_of
from tests.conftest import leave_text_as_it_is

#: Two epochs of four iterations; a checkpoint after each, of which one is kept.
CHANGES = {
    'train_dataloader.batch_size': 2,
    'train_cfg.max_epochs': 2,
    'default_hooks.checkpoint': dict(
        by_epoch=False, interval=1, max_keep_ckpts=1, save_best='multi-label/mAP'
    ),
    'param_scheduler': [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
        dict(type='MultiStepLR', by_epoch=True, milestones=[1]),
    ],
}


@DATA_SAMPLERS.register_module(force=True)
class TorchOrder(RandomSampler):
    """An order that torch's global generator draws."""

    def __init__(self, dataset, seed=None, shuffle=True):
        super().__init__(dataset)


DATA_SAMPLERS.register_module('TorchBatches', force=True, module=BatchSampler)


PARTS = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


class BatchesHook(Hook):
    """Records batches and draws, and ends the process after an iteration."""

    priority = 'LOWEST'

    def __init__(self, path, stop_at=None):
        self.path, self.stop_at = path, stop_at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        images = [s.img_path for s in data_batch['data_samples']]
        pixels = torch.stack(list(data_batch['inputs'])).double().flatten()
        pixels = (pixels * torch.arange(len(pixels))).sum().item()
        row = (runner.epoch, runner.iter, batch_idx, images, pixels, torch.rand(1))
        with open(self.path, 'a') as file:
            file.write(f'{row}\n')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.stop_at:
            os._exit(9)


@pytest.fixture
def make_runner(load_config, tmp_path):
    """Function that gives a run, the file of its batches, and where it ends."""

    def make(name, stop_at=None, changes=None, **fields):
        cfg = load_config({**CHANGES, **(changes or {})})
        cfg.pop('steps'), cfg.pop('runner_type')
        cfg.update(fields, work_dir=str(tmp_path / name))
        runner = CheckedRunner.from_cfg(cfg)
        runner.register_hook(BatchesHook(tmp_path / f'{name}.txt', stop_at))
        return runner

    return make


def train(cfg, path, stop_at):
    """Train in this process."""
    leave_text_as_it_is(pytest.MonkeyPatch())
    runner = CheckedRunner.from_cfg(cfg)
    runner.register_hook(BatchesHook(path, stop_at))
    runner.train()


def end_in_a_child(runner):
    """Train in a child that ends like one that is killed."""
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, BatchesHook))
    assert exit_code_of(train, runner.cfg, hook.path, hook.stop_at) == 9


def differences(first, second, name=''):
    """Names of what is not equal to the bit."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return [name]
        return [
            d for k in first for d in differences(first[k], second[k], f'{name}.{k}')
        ]
    if isinstance(first, list | tuple):
        pairs = zip(first, second, strict=True)
        return [d for i, p in enumerate(pairs) for d in differences(*p, f'{name}.{i}')]
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [name]
    return [] if first == second else [name]


def assert_same_end(tmp_path, name, expected='whole'):
    """Compare the batches, the files and the last checkpoints of two runs."""
    rows = [(tmp_path / f'{n}.txt').read_text() for n in (name, expected)]
    assert rows[0] == rows[1]
    folders = [tmp_path / n for n in (name, expected)]
    files = [sorted(p.name for p in folder.glob('*.pth*')) for folder in folders]
    assert files[0] == files[1]
    for file in files[1]:
        contents = [read_checkpoint(folder / file) for folder in folders]
        for part in PARTS:
            assert not differences(*(c.get(part) for c in contents)), (file, part)
        for key in ('epoch', 'iter', 'batches_done', 'batches'):
            assert contents[0]['meta'][key] == contents[1]['meta'][key]


needs_fork = pytest.mark.skipif(os.name != 'posix', reason='needs fork')


@needs_fork
@pytest.mark.parametrize(
    'numbers', [(2, 4, 7), pytest.param(range(1, 8), marks=pytest.mark.slow)]
)
def test_death_after_iterations(numbers, make_runner, tmp_path):
    """The same batches, augmentations, draws, schedules, averages and checkpoints."""
    make_runner('whole').train()
    assert len((tmp_path / 'whole.txt').read_text().splitlines()) == 8
    # One run, which is killed inside an epoch and at its end.
    for number in numbers:
        end_in_a_child(make_runner('killed', number, resume=number > numbers[0]))
        (latest,) = (tmp_path / 'killed').glob('iter_*.pth')
        meta = read_checkpoint(latest)['meta']
        assert (meta['epoch'], meta['iter']) == ((number - 1) // 4, number)
        assert (meta['batches_done'], meta['batches']) == ((number - 1) % 4 + 1, 4)
    make_runner('killed', resume=True).train()
    assert_same_end(tmp_path, 'killed')


@needs_fork
@pytest.mark.parametrize('persistent', [True, False])
def test_workers(persistent, make_runner, tmp_path):
    changes = {
        'train_dataloader.num_workers': 2,
        'train_dataloader.persistent_workers': persistent,
    }
    make_runner('whole').train()
    end_in_a_child(make_runner('killed', 6, changes))
    make_runner('killed', None, changes, resume=True).train()
    assert_same_end(tmp_path, 'killed')


@needs_fork
@pytest.mark.parametrize(
    'kind',
    [
        'batch sampler',
        pytest.param("torch's sampler", marks=pytest.mark.slow),
        pytest.param('slices', marks=pytest.mark.slow),
    ],
)
def test_orders(kind, make_runner, tmp_path):
    """Orders other than MMEngine's, of which torch's draws when an epoch begins."""
    changes = {
        'batch sampler': {
            'train_dataloader.batch_sampler': dict(type='TorchBatches', drop_last=False)
        },
        "torch's sampler": {'train_dataloader.sampler': dict(type='TorchOrder')},
        'slices': {'train_dataloader.num_batch_per_epoch': 3},
    }[kind]
    make_runner('whole', None, changes).train()
    end_in_a_child(make_runner('killed', 5, changes))
    make_runner('killed', None, changes, resume=True).train()
    assert_same_end(tmp_path, 'killed')
    rows = (tmp_path / 'whole.txt').read_text().splitlines()
    assert len(rows) == (6 if kind == 'slices' else 8)
    # Each epoch draws anew.
    orders = {row.split('[')[1] for row in rows}
    assert len(orders) > 4


@needs_fork
def test_epochs_and_iterations(make_runner, tmp_path):
    """Checkpoints of epochs are as exact as before."""
    changes = {
        'default_hooks.checkpoint': dict(interval=1, max_keep_ckpts=1),
    }
    make_runner('whole', None, changes).train()
    end_in_a_child(make_runner('killed', 6, changes))
    meta = read_checkpoint(tmp_path / 'killed/epoch_1.pth')['meta']
    assert (meta['batches_done'], meta['batches']) == (0, 4)
    rows = (tmp_path / 'killed.txt').read_text().splitlines()
    # The two iterations after the checkpoint are made again.
    (tmp_path / 'killed.txt').write_text('\n'.join(rows[:4]) + '\n')
    make_runner('killed', None, changes, resume=True).train()
    assert_same_end(tmp_path, 'killed')


@needs_fork
def test_epoch_of_another_length(make_runner, tmp_path, monkeypatch):
    """It starts again, with a warning."""
    end_in_a_child(make_runner('work', 6))
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.hooks.epoch_position_hook.print_log',
        lambda text, *_: logged.append(text),
    )
    (tmp_path / 'work.txt').unlink()
    changes = {'train_dataloader.batch_size': 4}
    make_runner('work', None, changes, resume=True).train()
    (text,) = logged
    assert text.endswith(
        'iter_6.pth was saved after 2 of the 4 batches of an epoch, which has 2 '
        'batches now. The epoch starts again.'
    )
    rows = (tmp_path / 'work.txt').read_text().splitlines()
    assert [row[:9] for row in rows] == ['(1, 6, 0,', '(1, 7, 1,']


@needs_fork
def test_position_of_a_stranger(make_runner, tmp_path):
    end_in_a_child(make_runner('work', 2))
    path = tmp_path / 'work/iter_2.pth'
    content = read_checkpoint(path)
    for value in (-1, 5, True, 1.0, 'x', [1]):
        content['meta']['batches_done'] = value
        torch.save(content, path)
        with pytest.raises(
            CheckpointError, match='batches that it has trained of an epoch'
        ):
            make_runner('work', resume=True).train()


@needs_fork
def test_checkpoint_without_a_position(make_runner, tmp_path):
    """As those of MMEngine: the epoch starts again."""
    end_in_a_child(make_runner('work', 2))
    path = tmp_path / 'work/iter_2.pth'
    content = read_checkpoint(path)
    del content['meta']['batches_done'], content['meta']['batches']
    torch.save(content, path)
    (tmp_path / 'work.txt').unlink()
    make_runner('work', resume=True).train()
    assert (tmp_path / 'work.txt').read_text().startswith('(0, 2, 0,')


def test_kinds_of_loops(make_runner):
    for train_cfg in (
        dict(by_epoch=True, max_epochs=1),
        dict(type='EpochBasedTrainLoop', max_epochs=1),
        dict(type='mmengine.EpochBasedTrainLoop', max_epochs=1),
    ):
        changes = {'train_cfg': dict(_delete_=True, **train_cfg)}
        runner = make_runner('work', changes=changes)
        assert type(runner.train_loop) is ResumableEpochLoop
    changes = {'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=1)}
    runner = make_runner('work', changes=changes)
    assert type(runner.train_loop).__name__ == 'IterBasedTrainLoop'


def test_loader_without_batches():
    """Of samples one by one."""
    loader = DataLoader(range(5), batch_size=None, sampler=RandomSampler(range(5)))
    loop = ResumableEpochLoop.__new__(ResumableEpochLoop)
    loop.dataloader, loop.batches_done = loader, 2
    torch.manual_seed(0)
    whole = list(loader)
    torch.manual_seed(0)
    assert list(loop._rest()) == whole[2:]
    loop.batches_done = 5
    assert list(loop._rest()) == []


def test_loader_like_another():
    loader = DataLoader(range(6), batch_size=2, num_workers=1, prefetch_factor=3)
    other = with_order(loader, batch_sampler=[[5, 4], [3]])
    assert [batch.tolist() for batch in other] == [[5, 4], [3]]
    assert (other.num_workers, other.prefetch_factor) == (1, 3)


SCHEDULERS = {
    'StepLR': dict(step_size=1),
    'MultiStepLR': dict(milestones=[1, 2]),
    'ConstantLR': {},
    'ExponentialLR': dict(gamma=0.5),
    'CosineAnnealingLR': dict(T_max=3),
    'CosineRestartLR': dict(periods=[1, 2], restart_weights=[1, 0.5], eta_min=0),
    'LinearLR': {},
    'PolyLR': {},
    'OneCycleLR': dict(eta_max=0.1, total_steps=8, by_epoch=False),
    'ReduceOnPlateauLR': dict(monitor='multi-label/mAP', rule='greater'),
}


@needs_fork
@pytest.mark.parametrize(
    'kind',
    [
        # Checkpoints of these two were refused once.
        pytest.param(
            kind,
            marks=[pytest.mark.slow] * (kind not in ('MultiStepLR', 'OneCycleLR')),
        )
        for kind in SCHEDULERS
    ],
)
def test_schedules(kind, make_runner, tmp_path):
    """Every schedule of MMEngine can be resumed."""
    assert set(SCHEDULERS) <= set(PARAM_SCHEDULERS.module_dict)
    changes = {
        'param_scheduler': [dict(type=kind, **SCHEDULERS[kind])],
        'default_hooks.checkpoint.save_best': None,
    }
    make_runner('whole', None, changes).train()
    end_in_a_child(make_runner('killed', 5, changes))
    make_runner('killed', None, changes, resume=True).train()
    assert_same_end(tmp_path, 'killed')
