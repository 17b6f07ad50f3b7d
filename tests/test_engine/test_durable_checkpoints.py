# SPDX-License-Identifier: Apache-2.0
"""Runs that die in the middle of a save, and go on."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook

from mlcl_plugin.engine import CheckedRunner, safe_checkpoint
from mlcl_plugin.engine.hooks import DurableCheckpointHook
from mlcl_plugin.engine.last_checkpoint import find_last_checkpoint
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.errors import CheckpointError, FolderInUseError, SaveError
from tests.child_process import exit_code_of
from tests.conftest import leave_text_as_it_is
from tests.marks import rare

CHANGES = {
    'train_cfg.max_epochs': 3,
    'default_hooks.checkpoint.max_keep_ckpts': 1,
    'default_hooks.checkpoint.save_best': 'multi-label/mAP',
    'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=True, T_max=3)],
}
PARTS = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


@pytest.fixture
def make_runner(load_config):
    """Function that gives a plain run of three epochs, which keeps one checkpoint."""

    def make(work_dir, changes=None, **fields):
        cfg = load_config({**CHANGES, **(changes or {})})
        cfg.pop('steps'), cfg.pop('runner_type')
        cfg.update(fields, work_dir=str(work_dir))
        return CheckedRunner.from_cfg(cfg)

    return make


kept = []


@pytest.fixture
def undisturbed(make_runner, tmp_path_factory):
    """The work folder of a run that nothing disturbs."""
    if not kept:
        kept.append(tmp_path_factory.mktemp('undisturbed') / 'work')
        make_runner(kept[0]).train()
    return kept[0]


def checkpoints(folder):
    return sorted(path.name for path in folder.glob('*.pth*'))


def assert_equal(first, second):
    """Compare to the bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for pair in zip(first, second):
            assert_equal(*pair)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def assert_same_end(folder, expected):
    """Compare what two runs leave, apart from times."""
    assert checkpoints(folder) == checkpoints(expected)
    for name in checkpoints(expected):
        contents = [read_checkpoint(d / name) for d in (folder, expected)]
        for part in PARTS:
            if part in contents[1]:
                assert_equal(*(content[part] for content in contents))
        hubs = [content['message_hub']['runtime_info'] for content in contents]
        for key in ('best_score', 'keep_ckpt_ids'):
            assert hubs[0].get(key) == hubs[1].get(key)
        for key in ('epoch', 'iter', 'seed'):
            assert contents[0]['meta'][key] == contents[1]['meta'][key]
    assert not list(folder.glob('*.part'))


class Fault:
    """Ends the process at a point of a save, as a kill does.

    Args:
        operation (str): 'write' is the middle of the write of a checkpoint, 'point'
            that of a pointer; the others are before the system's call.
        name (str): The file.
        time (int): The how-manieth such operation, from 1.
    """

    def __init__(self, operation, name, time=1):
        self.point, self.left = (operation, name), time

    def meets(self, operation, path):
        name = Path(path).name.removesuffix('.part')
        if name.startswith('last_checkpoint'):
            name = 'last_checkpoint'
        if (operation, name) == self.point:
            self.left -= 1
            return self.left == 0
        return False

    def install(self, runner):
        """Patch this process, which is a child that ends here."""
        put, remove, text = LocalBackend.put, LocalBackend.remove, Path.write_bytes
        replace, fsync = os.replace, os.fsync

        def die():
            os._exit(9)

        def new_put(backend, data, path):
            if self.meets('write', path):
                put(backend, data[: len(data) // 2], path)
                die()
            put(backend, data, path)

        def new_remove(backend, path):
            if self.meets('remove', path):
                die()
            remove(backend, path)

        def new_text(path, data, *args, **kwargs):
            if self.meets('point', path):
                text(path, data[:5])
                die()
            return text(path, data, *args, **kwargs)

        def new_replace(source, target):
            if self.meets('replace', target):
                die()
            replace(source, target)
            if self.meets('replaced', target):
                die()

        def new_fsync(descriptor):
            if self.meets('fsync', os.readlink(f'/proc/self/fd/{descriptor}')):
                die()
            fsync(descriptor)

        LocalBackend.put, LocalBackend.remove = new_put, new_remove
        Path.write_bytes, os.replace, os.fsync = new_text, new_replace, new_fsync


def train_with(fault, cfg):
    """Train in this process, which has a fault."""
    leave_text_as_it_is(pytest.MonkeyPatch())
    runner = CheckedRunner.from_cfg(cfg)
    fault.install(runner)
    runner.train()


def die_at(fault, runner):
    """Train in a child until the fault; give its exit status."""
    return exit_code_of(train_with, fault, runner.cfg)


#: Of the tiny run, epochs 1, 2 and 3 are the best ones so far. Slow are those in which
#: nearly the same happens, in another epoch or to another file.
POINTS = [
    ('write', 'epoch_3.pth', 1),
    *(rare((op, 'epoch_3.pth', 1)) for op in ('fsync', 'replace', 'replaced')),
    *(
        rare((operation, f'epoch_{epoch}.pth', 1))
        for epoch in (1, 2)
        for operation in ('write', 'fsync', 'replace', 'replaced')
    ),
    # With the name of the best checkpoint, in the validation.
    rare(('write', 'epoch_2.pth', 2)),
    rare(('replaced', 'epoch_2.pth', 2)),
    rare(('write', 'best_multi-label_mAP_epoch_2.pth', 1)),
    rare(('fsync', 'best_multi-label_mAP_epoch_2.pth', 1)),
    rare(('replace', 'best_multi-label_mAP_epoch_2.pth', 1)),
    rare(('replaced', 'best_multi-label_mAP_epoch_2.pth', 1)),
    ('remove', 'best_multi-label_mAP_epoch_1.pth', 1),
    rare(('remove', 'epoch_1.pth', 1)),
    rare(('remove', 'epoch_2.pth', 1)),
    ('point', 'last_checkpoint', 1),
    rare(('replace', 'last_checkpoint', 1)),
    *(rare((op, 'last_checkpoint', 1)) for op in ('fsync', 'replaced')),
    *(
        rare((op, 'last_checkpoint', 3))
        for op in ('point', 'fsync', 'replace', 'replaced')
    ),
]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork and /proc')
@pytest.mark.parametrize('point', POINTS, ids=lambda p: '-'.join(map(str, p)))
def test_death_in_a_save(point, make_runner, undisturbed, tmp_path):
    """No checkpoint is lost, and the end is the same to the bit."""
    work_dir = tmp_path / 'killed'
    status = die_at(Fault(*point), make_runner(work_dir))
    if point[2] > 1 and status == 0:
        pytest.skip('this run has not so many such operations')
    assert status == 9
    latest = find_last_checkpoint(str(work_dir))
    if latest is None:
        # Death in the first save.
        assert not (work_dir / 'last_checkpoint').exists()
    else:
        assert read_checkpoint(latest)['meta']['epoch'] >= 1
    make_runner(work_dir, resume=True).train()
    assert_same_end(work_dir, undisturbed)


class DeathInValidation:
    """Ends the process where an epoch is validated."""

    def __init__(self, epoch):
        self.epoch = epoch

    def install(self, runner):
        validate = runner.val_loop.run

        def run():
            if runner.epoch == self.epoch:
                os._exit(9)
            validate()

        runner.val_loop.run = run


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork and /proc')
@pytest.mark.parametrize('epoch', [1, 3])
def test_death_in_a_validation(epoch, make_runner, undisturbed, tmp_path):
    """It is made first, so that the best checkpoint and the log are the same."""
    work_dir = tmp_path / 'killed'
    assert die_at(DeathInValidation(epoch), make_runner(work_dir)) == 9
    assert find_last_checkpoint(str(work_dir)).endswith(f'epoch_{epoch}.pth')
    make_runner(work_dir, resume=True).train()
    assert_same_end(work_dir, undisturbed)


def test_validation_is_not_repeated(make_runner, undisturbed, monkeypatch):
    """The checkpoint of a best epoch knows that it was validated."""
    runner = make_runner(undisturbed, resume=True)
    monkeypatch.setattr(runner.val_loop, 'run', lambda: pytest.fail('validates'))
    runner.train()


@pytest.mark.parametrize(
    ('where', 'code'),
    [
        ('write', errno.ENOSPC),
        ('fsync', errno.EIO),
        ('best', errno.ENOSPC),
        ('write', errno.EROFS),
        *(
            pytest.param(where, code, marks=pytest.mark.slow)
            for where, code in [
                ('write', errno.EIO),
                ('fsync', errno.ENOSPC),
                ('fsync', errno.EROFS),
                ('best', errno.EROFS),
                ('best', errno.EIO),
            ]
        ),
    ],
)
def test_disk_is_full(code, where, make_runner, undisturbed, tmp_path, monkeypatch):
    """Earlier checkpoints stay, no part is left, and the message has advice."""
    work_dir = tmp_path / 'full'
    runner = make_runner(work_dir)
    name = 'best_multi-label_mAP_epoch_2' if where == 'best' else 'epoch_2'
    put, fsync = LocalBackend.put, os.fsync

    def full_put(backend, data, path):
        if where != 'fsync' and Path(path).name.startswith(name):
            put(backend, data[:1000], path)
            raise OSError(code, os.strerror(code))
        put(backend, data, path)

    def full_fsync(descriptor):
        path = os.readlink(f'/proc/self/fd/{descriptor}')
        if where == 'fsync' and Path(path).name.startswith(name):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, 'put', full_put)
        patch.setattr(os, 'fsync', full_fsync)
        message = (
            rf'Cannot save the checkpoint .*/{name}\.pth: {os.strerror(code)}\. '
            'Earlier checkpoints are intact. Make room or set another work_dir, '
            'then resume'
        )
        with pytest.raises(SaveError, match=message) as info:
            runner.train()
    assert info.value.errno == code
    best = 'best_multi-label_mAP_epoch_1.pth'
    latest = 'epoch_2.pth' if where == 'best' else 'epoch_1.pth'
    assert checkpoints(work_dir) == [best, latest]
    assert find_last_checkpoint(str(work_dir)) == str(work_dir / latest)
    make_runner(work_dir, resume=True).train()
    assert_same_end(work_dir, undisturbed)


def test_hooks_of_a_config(make_runner, tmp_path):
    """A second one among the custom hooks is as durable."""
    hooks = [dict(type='CheckpointHook', by_epoch=False, interval=2)]
    runner = make_runner(tmp_path / 'work', {'custom_hooks': hooks})
    found = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    assert [type(hook) for hook in found] == [DurableCheckpointHook] * 2
    assert {hook.by_epoch for hook in found} == {True, False}


def test_two_are_kept(make_runner, tmp_path):
    changes = {
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        'default_hooks.checkpoint.save_best': None,
    }
    make_runner(tmp_path / 'work', changes).train()
    assert checkpoints(tmp_path / 'work') == ['epoch_2.pth', 'epoch_3.pth']


def test_several_best_checkpoints(make_runner, tmp_path):
    keys = ['multi-label/mAP', 'multi-label/OF1']
    changes = {'default_hooks.checkpoint.save_best': keys}
    make_runner(tmp_path / 'work', changes).train()
    names = checkpoints(tmp_path / 'work')
    assert names[-1] == 'epoch_3.pth'
    assert sum('mAP' in name for name in names) == 1
    assert sum('OF1' in name for name in names) == 1
    assert len(names) == 3


def test_another_folder(make_runner, tmp_path):
    """The hook's ``out_dir``."""
    changes = {'default_hooks.checkpoint.out_dir': str(tmp_path / 'out')}
    make_runner(tmp_path / 'run', changes).train()
    assert 'epoch_3.pth' in checkpoints(tmp_path / 'out/run')
    latest = find_last_checkpoint(str(tmp_path / 'run'))
    assert latest == str(tmp_path / 'out/run/epoch_3.pth')
    assert checkpoints(tmp_path / 'run') == []


# --- which checkpoint a resume takes ----------------------------------------------


def save(path, **content):
    parts = ('meta', 'message_hub', 'state_dict', 'optimizer')
    torch.save({part: {} for part in parts} | content, path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of three epochs, the last named by the pointer, and a best one."""
    for epoch in (1, 2, 3):
        path = save(tmp_path / f'epoch_{epoch}.pth', meta=dict(epoch=epoch))
        os.utime(path, (epoch, epoch))
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'best_mAP_epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    return tmp_path


def test_latest(folder):
    assert find_last_checkpoint(str(folder)) == str(folder / 'epoch_3.pth')


def test_nothing_saved(folder):
    (folder / 'last_checkpoint').unlink()
    assert find_last_checkpoint(str(folder)) is None


def test_remote_checkpoint_is_not_read(folder):
    (folder / 'last_checkpoint').write_text('s3://bucket/epoch_3.pth')
    assert find_last_checkpoint(str(folder)) == 's3://bucket/epoch_3.pth'


def torn(path):
    path.write_bytes(path.read_bytes()[:-20])


BAD = {
    'torn': (torn, 'cannot be used as a checkpoint'),
    'empty': (lambda path: path.write_bytes(b''), 'the file is empty'),
    'text': (lambda path: path.write_text('no checkpoint'), 'cannot be used'),
    'zeros': (lambda path: path.write_bytes(bytes(4096)), 'cannot be used'),
    'gone': (lambda path: path.unlink(), 'does not exist'),
    'folder': (lambda path: (path.unlink(), path.mkdir()), 'got a folder'),
    'weights': (lambda path: torch.save(dict(w=torch.ones(1)), path), 'has no meta'),
    'list': (lambda path: torch.save([1], path), 'expected a dict'),
}


@pytest.mark.parametrize('kind', BAD)
def test_latest_is_bad(kind, folder, caplog, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.last_checkpoint.print_log',
        lambda text, *_: logged.append(text),
    )
    damage, message = BAD[kind]
    damage(folder / 'epoch_3.pth')
    assert find_last_checkpoint(str(folder)) == str(folder / 'epoch_2.pth')
    (text,) = logged
    assert message in text
    assert text.endswith(f'The run goes on from {folder / "epoch_2.pth"}.')


@pytest.mark.parametrize('content', ['', ' \n', 'best_mAP_epoch_3.pth', 'epoch_9.pth'])
def test_pointer_is_bad(content, folder):
    text = content if not content.strip() else str(folder / content)
    (folder / 'last_checkpoint').write_text(text)
    assert find_last_checkpoint(str(folder)) == str(folder / 'epoch_3.pth')


def test_no_good_checkpoint(folder):
    for path in folder.glob('*.pth'):
        torn(path)
    message = r'No checkpoint in .* can be used.*epoch_3.*epoch_2.*epoch_1.*delete that'
    with pytest.raises(CheckpointError, match=message):
        find_last_checkpoint(str(folder))


def test_run_goes_on_from_the_newest_good_one(make_runner, tmp_path, record):
    changes = {'default_hooks.checkpoint.max_keep_ckpts': -1}
    work_dir = tmp_path / 'work'
    make_runner(work_dir, changes).train()
    torn(work_dir / 'epoch_3.pth')
    record.events.clear()
    make_runner(work_dir, changes, resume=True).train()
    assert record.epochs() == [('work', 2)]


# --- what a checkpoint must not hold ----------------------------------------------


def test_weights_that_are_not_finite_are_not_saved(make_runner, tmp_path):
    runner = make_runner(tmp_path / 'work', {'train_cfg.max_epochs': 1})
    runner.train()
    hook = next(h for h in runner.hooks if type(h).__name__ == 'DurableCheckpointHook')
    before = checkpoints(tmp_path / 'work')
    runner.train_loop._epoch = 9
    message = 'Not finite after iteration 2: neck.queries. The checkpoint is not saved'
    for value in (float('nan'), float('inf')):
        runner.model.neck.queries.data[0, 0] = value
        with pytest.raises(FloatingPointError, match=message):
            hook._save_checkpoint(runner)
    assert checkpoints(tmp_path / 'work') == before


@pytest.mark.parametrize('part', ['average', 'optimizer', 'running mean'])
def test_other_parts_that_are_not_finite(part, make_runner, tmp_path):
    runner = make_runner(tmp_path / 'work', {'train_cfg.max_epochs': 1})
    runner.train()
    hook = next(h for h in runner.hooks if type(h).__name__ == 'DurableCheckpointHook')
    if part == 'optimizer':
        state = next(iter(runner.optim_wrapper.optimizer.state.values()))
        state['exp_avg_sq'].fill_(float('inf'))
        message = 'the state of the optimizer'
    elif part == 'average':
        ema = next(h for h in runner.hooks if hasattr(h, 'ema_model'))
        ema.ema_model.module.neck.queries.data.fill_(float('nan'))
        message = 'neck.queries'
    else:
        runner.model.backbone.bn1.running_mean.fill_(float('nan'))
        message = 'backbone.bn1.running_mean'
    runner.train_loop._epoch = 9
    with pytest.raises(FloatingPointError, match=rf'iteration 2: {message}\. The che'):
        hook._save_checkpoint(runner)
    assert (tmp_path / 'work/epoch_1.pth').exists()
    assert not list((tmp_path / 'work').glob('*.part'))


def test_masks_may_be_infinite(make_runner, tmp_path):
    runner = make_runner(tmp_path / 'work', {'train_cfg.max_epochs': 1})
    runner.model.register_buffer('mask', torch.full((2,), -torch.inf))
    runner.train()
    assert 'epoch_1.pth' in checkpoints(tmp_path / 'work')


def test_objects_of_a_config_are_saved_as_plain_ones(make_runner, tmp_path):
    """Readers refuse MMEngine's ConfigDict."""
    changes = {
        'train_cfg.max_epochs': 1,
        'train_dataloader.dataset.metainfo': dict(
            source=dict(name='camera', size=[1, 2])
        ),
    }
    make_runner(tmp_path / 'work', changes).train()
    meta = read_checkpoint(tmp_path / 'work/epoch_1.pth')['meta']['dataset_meta']
    assert meta['source'] == dict(name='camera', size=[1, 2])
    assert type(meta['source']) is dict


def test_objects_that_readers_refuse(make_runner, tmp_path, monkeypatch):
    runner = make_runner(tmp_path / 'work', {'train_cfg.max_epochs': 2})
    runner.message_hub.update_info('folder', Path('x'))
    logged = []
    monkeypatch.setattr(runner.logger, 'warning', logged.append)
    runner.train()
    texts = [text for text in logged if 'refer to' in text]
    assert len(texts) == 1
    kind = type(Path('x'))
    name = f'{kind.__module__}.{kind.__qualname__}'
    assert f'{name}, which a resume refuses' in texts[0]


def test_pickle_that_readers_refuse(make_runner, tmp_path, monkeypatch):
    """The checkpoint is saved, with a warning."""
    monkeypatch.setattr(safe_checkpoint, 'MAX_OPERATIONS', 10)
    runner = make_runner(tmp_path / 'work', {'train_cfg.max_epochs': 1})
    logged = []
    monkeypatch.setattr(runner.logger, 'warning', logged.append)
    runner.train()
    assert (tmp_path / 'work/epoch_1.pth').exists()
    assert len([x for x in logged if 'refuses' in x and 'too large' in x]) == 1


# --- every call that changes a file -----------------------------------------------


class Calls:
    """Counts calls that change files below a folder, and fails at one of them.

    Args:
        folder (Path): The folder of the run.
        fail_at (int): The number of the call, from 1.
        code (int, optional): Error of the call; without it, the process ends there.
    """

    def __init__(self, folder, fail_at=0, code=None):
        self.folder, self.fail_at, self.code = str(folder), fail_at, code
        self.number, self.names = 0, []

    def count(self, name, path):
        """Whether this call fails after a part of its work."""
        path = os.fspath(path) if not isinstance(path, int) else str(path)
        # Logs are no part of a save.
        if not path.startswith(self.folder) or '/vis_data' in path or '.log' in path:
            return
        self.number += 1
        self.names.append(f'{name} {Path(path).name}')
        if self.number == self.fail_at:
            if self.code is None:
                os._exit(9)
            raise OSError(self.code, os.strerror(self.code), path)

    def install(self, patch):
        for name in ('replace', 'rename', 'unlink', 'remove', 'link', 'mkdir'):
            self._wrap(patch, os, name)
        self._wrap(patch, Path, 'write_bytes')
        self._wrap(patch, Path, 'write_text')
        self._wrap(patch, Path, 'unlink')
        put, fsync = LocalBackend.put, os.fsync

        def new_put(backend, data, path):
            self.count('create', path)
            put(backend, data[: len(data) // 2], path)
            self.count('write', path)
            put(backend, data, path)

        def new_fsync(descriptor):
            self.count('fsync', os.readlink(f'/proc/self/fd/{descriptor}'))
            fsync(descriptor)

        patch.setattr(LocalBackend, 'put', new_put)
        patch.setattr(os, 'fsync', new_fsync)

    def _wrap(self, patch, owner, name):
        call = getattr(owner, name)

        def new(path, *args, **kwargs):
            self.count(name, path)
            return call(path, *args, **kwargs)

        patch.setattr(owner, name, new)


def train_with_calls(calls, cfg, path):
    """Train in this process, and write the calls to a file."""
    patch = pytest.MonkeyPatch()
    leave_text_as_it_is(patch)
    runner = CheckedRunner.from_cfg(cfg)
    status = 1
    try:
        calls.install(patch)
        runner.train()
        status = 0
    except SaveError:
        status = 2
    except FolderInUseError as error:
        status = 3 if os.strerror(calls.code or 0) in str(error) else 1
    except OSError as error:
        # Named by its file.
        status = 3 if error.filename or error.errno == calls.code else 1
    finally:
        path.write_text('\n'.join(calls.names))
        os._exit(status)


def run_in_child(calls, runner, tmp_path):
    """Train in a child; give its exit status (9 dead, 2 a SaveError) and the calls."""
    return exit_code_of(train_with_calls, calls, runner.cfg, tmp_path / 'calls.txt')


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork and /proc')
@pytest.mark.parametrize('code', [None, errno.ENOSPC], ids=['death', 'disk full'])
def test_every_call(code, make_runner, undisturbed, tmp_path):
    """A run that fails in any call goes on to the same end, without hand work."""
    everything = Calls(tmp_path / 'counted')
    assert run_in_child(everything, make_runner(tmp_path / 'counted'), tmp_path) == 0
    names = (tmp_path / 'calls.txt').read_text().splitlines()
    assert len(names) > 50
    kinds = {name.split()[0] for name in names}
    assert {'create', 'write', 'fsync', 'replace', 'write_bytes', 'unlink'} <= kinds
    for number in range(1, len(names) + 1):
        work_dir = tmp_path / f'failed_{number}'
        calls = Calls(work_dir, number, code)
        status = run_in_child(calls, make_runner(work_dir), tmp_path)
        print(f'{number} of {len(names)}, {names[number - 1]}: {status}')
        assert status == 9 if code is None else status in (0, 2, 3)
        if status:
            make_runner(work_dir, resume=True).train()
        assert_same_end(work_dir, undisturbed)
        shutil.rmtree(work_dir)
