# SPDX-License-Identifier: Apache-2.0
"""Whole searches, with a tiny network and 21 images."""

import io
import os
import signal
import sys
import time
from unittest import mock

import pytest

from mlcl_plugin.engine import build_runner, load_config
from mlcl_plugin.tuning import run, tune
from mlcl_plugin.tuning.study import FILE
from tests.child_process import CONTEXT, UNFORMATTED
from tests.test_tuning.conftest import CHOICES, LR, RANGES


def test_search_and_train_the_best(search, tiny_coco, tmp_path, record):
    """The validation images do not exist until the best config is trained."""
    made = search(trials=3)
    found, lines = made.found, made.text.splitlines()
    assert '6 of 21 training images are held out' in lines[0]
    assert 'Validation and test images of the config are not read' in lines[0]
    held_out = (tmp_path / 'search/held_out.txt').read_text().splitlines()
    assert len(held_out) == 6 and all(map(os.path.isfile, held_out))
    assert [line[:7] for line in lines if line.startswith('trial ')] == [
        f'trial {number}' for number in range(3)
    ]
    assert set(found.scores) == {0, 1, 2}
    assert found.score == max(found.scores.values()) == found.scores[found.trial]
    assert set(found.values) == {LR, 'train_dataloader.batch_size'}
    assert f'mlcl train {found.config} --work-dir' in lines[-1]
    # All steps trained with the values of their trial.
    starts = record.starts()
    assert [start.step for start in starts] == ['step1', 'step2'] * 3
    best = starts[2 * found.trial : 2 * found.trial + 2]
    for start in best:
        assert start.batch_size == found.values['train_dataloader.batch_size']
    assert best[1].lr == found.values[LR]
    assert not list(tmp_path.glob('search/trials/**/*.pth'))
    # Equal starts: trials differ by their values only.
    for name, weights in starts[0].model.items():
        assert weights.equal(starts[2].model[name])

    record.events.clear()
    cfg = load_config(
        found.config, {'val_dataloader.dataset.data_root': f'{tiny_coco}/'}
    )
    cfg.work_dir = str(tmp_path / 'best')
    build_runner(cfg).train()
    assert record.starts()[1].lr == found.values[LR]
    # 21 images of the config, and not 15.
    batches = -(-21 // found.values['train_dataloader.batch_size'])
    log = next(tmp_path.glob('best/step1/*/vis_data/scalars.json')).read_text()
    assert f'"step": {batches}' in log and f'"step": {batches + 1}' not in log


def test_first_trial_has_the_values_of_the_config(search):
    changes = {'train_dataloader.batch_size': 6}
    made = search(trials=1, changes=changes)
    assert 'trial 0 has the values of the config' in made.text
    assert made.found.values == {LR: 0.02, 'train_dataloader.batch_size': 6}


def test_one_seed_gives_one_search(search):
    """Also if it is made in two calls; another seed gives another one."""
    whole = search('whole', trials=3).found
    search('parts', trials=1)
    second = search('parts', trials=3)
    assert '1 trials are there already' in second.text
    assert second.found.scores == whole.scores
    assert second.found.values == whole.values
    other = search('other', trials=2, seed=1).found
    assert other.scores != dict(list(whole.scores.items())[:2])


def begin(config, out):
    """Search in a process of its own."""
    with mock.patch(*UNFORMATTED):
        tune(config, out, RANGES, CHOICES, trials=2, share=0.3, stream=io.StringIO())


def test_killed_trial_begins_again(search, tmp_path):
    """A search that is killed in its second trial ends as one that is not."""
    import optuna

    epochs = {'steps.step2.train_cfg': dict(max_epochs=4)}
    whole = search('whole', changes=epochs, trials=2)
    out = tmp_path / 'killed'
    process = CONTEXT.Process(target=begin, args=(whole.config, out))
    process.start()
    end = time.monotonic() + 120
    while not (out / 'trials/1/step2').exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL

    def trials():
        storage = f'sqlite:///{out / FILE}'
        return optuna.load_study(study_name=None, storage=storage).trials

    states = [trial.state.name for trial in trials()]
    assert states == ['COMPLETE', 'RUNNING']
    begun = trials()[1].params
    again = search('killed', changes=epochs, trials=2).found
    assert [trial.state.name for trial in trials()] == ['COMPLETE'] * 2
    assert trials()[1].params == begun
    assert again.scores == whole.found.scores and again.values == whole.found.values


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ranges={LR: '1e-3:0.2:log'}), 'a search with another space'),
        (dict(changes={'randomness.seed': 5}), 'a search with another config'),
        (dict(seed=1), 'another seed and another set of training images'),
        (dict(share=0.4), 'another share'),
        (dict(prune=False), 'another prune'),
    ],
)
def test_other_settings_in_one_folder(search, begun, options, message):
    with pytest.raises(ValueError, match=message):
        search(**options)


@pytest.fixture
def begun(search):
    search(trials=1)


def test_folder_of_something_else(search, tmp_path):
    (tmp_path / 'search').mkdir()
    (tmp_path / 'search/photo.png').touch()
    with pytest.raises(FileExistsError, match='not empty and has no search'):
        search()
    (tmp_path / 'file').touch()
    with pytest.raises(FileExistsError, match='is a file'):
        search('file')
    with pytest.raises(ValueError, match="takes no '\\?' in the name"):
        search('what?')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(trials=0), 'trials=0'),
        (dict(seed=-1), 'seed=-1'),
        (dict(share=1.0), 'share=1.0'),
        (dict(share=float('nan')), 'share=nan'),
        (dict(share=0.001), 'too few: held out would get none'),
        (dict(ranges={'model.head.foo': '0:1'}), "takes no 'foo'"),
    ],
)
def test_wrong_arguments(search, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        search(**options)
    assert not (tmp_path / 'search/trials').exists()


def test_search_goes_on_after_a_failure(search):
    """Trials whose batches are larger than the 15 images fail."""
    choices = {'train_dataloader.drop_last': [True, False]}
    changes = {'train_dataloader.drop_last': False}
    options = dict(ranges={'train_dataloader.batch_size': '14:20:int'}, choices=choices)
    made = search(trials=6, changes=changes, **options)
    failed = [line for line in made.text.splitlines() if 'failed: ' in line]
    assert failed and all('has no batch' in line for line in failed)
    assert len(made.found.scores) + len(failed) == 6


def test_hopeless_search(search, tmp_path):
    """Its first three trials fail; so does a second call, without a trial."""
    changes = {'train_dataloader.drop_last': True}
    options = dict(
        ranges={'train_dataloader.batch_size': '30:40:int'}, choices=None, trials=9
    )
    for _ in range(2):
        with pytest.raises(ValueError, match='first 3 trials failed.* has no batch'):
            search(changes=changes, **options)
    assert len(list(tmp_path.glob('search/trials/*'))) <= 3


def test_any_error_fails_its_trial_alone(search, monkeypatch):
    """Values may break a training anywhere."""
    train_trial = run.train_trial

    def fail_once(*args):
        monkeypatch.setattr(run, 'train_trial', train_trial)
        raise RuntimeError('no memory')

    monkeypatch.setattr(run, 'train_trial', fail_once)
    made = search()
    assert 'trial 0: failed: RuntimeError: no memory' in made.text
    assert 0 not in made.found.scores and 1 in made.found.scores


def test_poor_trials_are_stopped(search):
    """The first five are trained to their end."""
    options = dict(ranges={LR: '1e-6:10:log'}, choices=None, trials=9)
    made = search(**options)
    stopped = [line for line in made.text.splitlines() if ': stopped' in line]
    assert 1 <= len(stopped) <= 4 and len(made.found.scores) == 9 - len(stopped)


def test_features_are_computed_once(search, tmp_path):
    """Trials on a frozen backbone share them; there are none of validation images."""
    changes = {
        'cached_features': dict(num_views=2),
        'optim_wrapper.paramwise_cfg': dict(
            custom_keys=dict(backbone=dict(lr_mult=0.0))
        ),
    }
    made = search(changes=changes)
    folders = list(tmp_path.glob('search/features/*'))
    assert len(folders) == 1 and len(made.found.scores) == 2
    names = {path.name for path in folders[0].iterdir()}
    assert {'train.npy', 'tune.npy'} <= names and 'val.npy' not in names
    log = (tmp_path / 'search/log.txt').read_text()
    assert log.count('Computing features') == 1


def test_optuna_is_missing(write_config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(ImportError, match=r"pip install 'mlcl_plugin\[tune\]'"):
        tune(write_config(), tmp_path / 'search', RANGES)
    assert not (tmp_path / 'search').exists()
