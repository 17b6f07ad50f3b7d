# SPDX-License-Identifier: Apache-2.0
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest


def test_compare(run, tmp_path, capsys):
    trained, result = run()
    assert trained == ['first', 'plain', 'contrast'] * 2
    assert set(result['runs']) == {
        f'{name}/{seed}' for name in ('first', 'plain', 'contrast') for seed in (0, 1)
    }
    contrast = result['runs']['contrast/1']
    # two epochs of 7 images in two views
    assert contrast['images'] == 2 * 7 * 2
    assert contrast['seconds'] > 0
    assert list(contrast['mAP']) == ['step2/2']
    assert contrast['mAP']['step2/2'] == contrast['metrics']['multi-label/mAP']
    printed = capsys.readouterr().out
    assert 'with contrast' in printed and '| reference ' in printed
    assert (tmp_path / 'out/tiny.png').stat().st_size > 1000

    # Nothing is left to do.
    assert run()[0] == []


@pytest.mark.slow
def test_what_is_lost_or_changed_is_trained_again(run, suite, tmp_path):
    run('--seeds', '0')
    file = tmp_path / 'out/tiny.json'
    content = json.loads(file.read_text())
    assert set(content['runs']) == {'first/0', 'plain/0', 'contrast/0'}

    # A finished run that could not be written down is not trained again.
    del content['runs']['plain/0']
    file.write_text(json.dumps(content))
    trained, result = run('--seeds', '0')
    assert trained == [] and 'plain/0' in result['runs']

    # One whose folder is gone is.
    del content['runs']['contrast/0']
    file.write_text(json.dumps(content))
    shutil.rmtree(tmp_path / 'runs/tiny/contrast')
    assert run('--seeds', '0')[0] == ['contrast']

    # And so is one whose weights are needed.
    file.write_text(json.dumps(content))
    for name in ('contrast', 'first'):
        shutil.rmtree(tmp_path / f'runs/tiny/{name}')
    assert run('--seeds', '0')[0] == ['first', 'contrast']

    # A change of a start changes what starts there.
    suite.write_text(
        suite.read_text().replace(
            "{'train_cfg.val_interval': 2}",
            "{'train_cfg.val_interval': 2, 'optim_wrapper.optimizer.lr': 0.02}",
        )
    )
    assert run('--seeds', '0', '--methods', 'plain')[0] == ['first', 'plain']


def started_from(tmp_path):
    """The weights that the run ``contrast/0`` started from."""
    path = next((tmp_path / 'runs/tiny/contrast').glob('*/step2/started_from'))
    return Path(path.read_text())


def test_a_start_that_is_made_once_more_is_made_to_its_end(
    load, run, tmp_path, monkeypatch
):
    run('--seeds', '0', '--methods', 'plain')
    shutil.rmtree(tmp_path / 'runs/tiny/first')
    hook = load('runs').MethodRecordHook
    after_train_epoch = hook.after_train_epoch

    def stop(self, runner):
        after_train_epoch(self, runner)
        if self.step == 'step1' and runner.epoch == 1:
            raise KeyboardInterrupt

    # after the first of two epochs
    monkeypatch.setattr(hook, 'after_train_epoch', stop)
    options = ('--seeds', '0', '--methods', 'contrast')
    with pytest.raises(KeyboardInterrupt):
        run(*options)
    assert list((tmp_path / 'runs/tiny/first').glob('*/step1/epoch_1.pth'))
    monkeypatch.setattr(hook, 'after_train_epoch', after_train_epoch)
    assert run(*options)[0] == ['first', 'contrast']
    assert started_from(tmp_path).name == 'epoch_2.pth'


@pytest.mark.slow
def test_a_start_without_weights_is_made_once_more(run, tmp_path):
    run('--seeds', '0', '--methods', 'plain')
    for path in (tmp_path / 'runs/tiny/first').glob('*/step1/*.pth'):
        path.unlink()
    trained, result = run('--seeds', '0', '--methods', 'contrast')
    assert trained == ['first', 'contrast']
    assert started_from(tmp_path).is_file()
    assert result['runs']['first/0']['images'] == 2 * 7


def test_a_run_that_cannot_go_on_begins_anew(load, run, tmp_path, monkeypatch):
    hook = load('runs').MethodRecordHook
    after_train_epoch = hook.after_train_epoch

    def stop(self, runner):
        after_train_epoch(self, runner)
        if runner.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(hook, 'after_train_epoch', stop)
    options = ('--seeds', '0', '--methods', 'first')
    with pytest.raises(KeyboardInterrupt):
        run(*options)
    monkeypatch.setattr(hook, 'after_train_epoch', after_train_epoch)
    (checkpoint,) = (tmp_path / 'runs/tiny/first').glob('*/step1/epoch_1.pth')
    checkpoint.unlink()
    trained, result = run(*options)
    assert trained == ['first'] and result['runs']['first/0']['images'] == 2 * 7


def test_runs_that_fit_again_are_taken_back(run, suite, tmp_path):
    _, before = run('--seeds', '0', '--methods', 'first')
    text = suite.read_text()
    other = "{'train_cfg.val_interval': 2, 'optim_wrapper.optimizer.lr': 0.02}"
    suite.write_text(text.replace("{'train_cfg.val_interval': 2}", other))
    trained, result = run('--seeds', '0', '--methods', 'first')
    assert trained == ['first']
    old = dict(before['runs']['first/0'], run='first/0')
    assert result['outdated'] == [old]
    assert result['runs']['first/0'] != before['runs']['first/0']
    suite.write_text(text)
    trained, result = run('--seeds', '0', '--methods', 'first')
    assert trained == []
    assert result['runs'] == before['runs'] and len(result['outdated']) == 1


def test_one_call_at_a_time(load, run, tmp_path):
    (tmp_path / 'out').mkdir()
    with (
        load('compare_methods').FileLock(tmp_path / 'out/.tiny.lock'),
        pytest.raises(SystemExit, match='Another call writes to .*tiny.json'),
    ):
        run('--seeds', '0', '--methods', 'first')
    assert run('--seeds', '0', '--methods', 'first')[0] == ['first']


@pytest.mark.parametrize('epoch', [0, 1])
def test_goes_on_where_it_was_cut_off(load, run, tmp_path, monkeypatch, epoch):
    """Also between the last checkpoint and its validation."""
    hook = load('runs').MethodRecordHook
    after_train_epoch = hook.after_train_epoch

    def stop(self, runner):
        after_train_epoch(self, runner)
        if runner.epoch == epoch and self.step == 'step2':
            raise KeyboardInterrupt

    monkeypatch.setattr(hook, 'after_train_epoch', stop)
    with pytest.raises(KeyboardInterrupt):
        run('--seeds', '0', '--methods', 'plain')
    monkeypatch.setattr(hook, 'after_train_epoch', after_train_epoch)
    trained, result = run('--seeds', '0', '--methods', 'plain')
    assert trained == ['plain']
    # The epochs before and after the cut, each once.
    assert result['runs']['plain/0']['images'] == 2 * 7 * 2
    lines = next((tmp_path / 'runs/tiny/plain').glob('*/records.jsonl')).read_text()
    assert 2 <= len(lines.splitlines()) <= 4
    assert result['runs']['plain/0']['metrics']['multi-label/mAP'] > 0


def test_a_failed_run(compare, run, tmp_path, monkeypatch, capsys):
    original = compare.multiprocessing.get_context(None).Process

    class Failing(original):
        def start(self):
            super().start()
            self.exitcode = int(self.name == 'first')

    context = SimpleNamespace(Process=Failing)
    monkeypatch.setattr(compare.multiprocessing, 'get_context', lambda kind: context)
    with pytest.raises(SystemExit, match='3 runs failed'):
        run('--seeds', '0')
    assert 'first/0 failed, see' in capsys.readouterr().out


@pytest.mark.slow
def test_embeddings(run, suite, tmp_path, capsys):
    """They are measured after training, and of runs that lack them later."""
    options = ('--seeds', '0', '--methods', 'plain', 'contrast')
    _, before = run(*options)
    assert 'embeddings' not in before['runs']['plain/0']
    content = suite.read_text() + 'embeddings = dict(shots=[1], repeats=2, seed=0)\n'
    suite.write_text(content)
    trained, result = run(*options)
    assert trained == ['first', 'plain', 'contrast']
    values = result['runs']['contrast/0']['embeddings']
    assert {'between/P@1', 'within/mAP@R', 'alignment', '1-shot/mAP'} <= set(values)
    # nothing was trained again
    for name in ('plain', 'contrast'):
        records = next((tmp_path / f'runs/tiny/{name}').glob('*/records.jsonl'))
        assert len(records.read_text().splitlines()) == 3
        assert result['runs'][f'{name}/0']['mAP'] == before['runs'][f'{name}/0']['mAP']
    assert 'within/mAP@R' in capsys.readouterr().out
    assert run(*options)[0] == []

    # by other options, they are measured anew; what cannot be is still kept
    suite.write_text(content.replace('shots=[1]', 'shots=[2]'))
    shutil.rmtree(tmp_path / 'runs/tiny/contrast')
    trained, other = run('--seeds', '0', '--methods', 'plain')
    assert '2-shot/mAP' in other['runs']['plain/0']['embeddings']
    assert '1-shot/mAP' not in other['runs']['plain/0']['embeddings']
    assert other['runs']['contrast/0'] == result['runs']['contrast/0']

    # so is what neighbours add
    suite.write_text(content + 'neighbours = True\n')
    plain = run('--seeds', '0', '--methods', 'plain')[1]['runs']['plain/0']
    scores = plain['neighbours']
    assert list(scores) == ['classifier', 'label-wise', 'image-level', 'both']
    own = plain['metrics']['multi-label/mAP']
    assert scores['classifier'] == pytest.approx(own, abs=1e-3)
    assert 'With neighbours, mAP:' in capsys.readouterr().out


def test_a_start_that_leaves_no_checkpoint(compare, run, monkeypatch, capsys):
    monkeypatch.setattr(compare, 'last_checkpoint', lambda folder: None)
    with pytest.raises(SystemExit, match='2 runs failed'):
        run('--seeds', '0')
    out = capsys.readouterr().out
    assert re.search('plain/0 cannot start: there is no checkpoint .*/first/', out)


@pytest.mark.parametrize('options', [('--seeds', '7'), ('--methods', 'nothing')])
def test_unknown_choice(run, options, capsys):
    with pytest.raises(SystemExit):
        run(*options)
    assert re.search('has no (seed|method)', capsys.readouterr().err)
