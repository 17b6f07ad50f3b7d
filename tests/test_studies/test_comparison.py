# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

SUITE = """
title = 'A title'
description = 'What is compared.'
seeds = [0, 1]
reference = 'plain'
options = {{'train_cfg.val_interval': 2}}
methods = dict(
    first=dict(config={path!r}, until='step1'),
    plain=dict(
        config={path!r},
        start='first',
        options={{'steps.step2.model.head.loss_contrastive': None}},
    ),
    contrast=dict(config={path!r}, start='first', label='with contrast'),
)
"""


@pytest.fixture
def compare(load, settings):
    return load('compare_methods')


@pytest.fixture
def suite(write_config, tmp_path):
    """A file with two seeds of three methods."""
    path = write_config({'custom_hooks': []})
    suite = tmp_path / 'tiny.py'
    suite.write_text(SUITE.format(path=str(path)))
    return suite


@pytest.fixture
def run(compare, suite, tmp_path, monkeypatch):
    """Function that compares; runs are trained in this process, one by one."""
    trained = []

    class Process:
        exitcode = 0

        def __init__(self, target, args, name):
            self.call, self.name = (lambda: target(*args)), name

        def start(self):
            trained.append(self.name)
            self.call()

        sentinel = None

    context = SimpleNamespace(Process=Process)

    numbers = itertools.count()

    def train(cfg, threads, folder, embeddings):
        # MMEngine keeps visualizers by the name of the config and the second, within a
        # process; really each run has one of its own.
        cfg.__dict__['_filename'] = f'tiny_{next(numbers)}.py'
        compare.run(cfg, folder, embeddings)

    monkeypatch.setattr(compare, 'train', train)
    monkeypatch.setattr(compare.multiprocessing, 'get_context', lambda kind: context)
    monkeypatch.setattr(compare.multiprocessing.connection, 'wait', lambda found: None)

    def run(*options):
        trained.clear()
        folders = ['--out', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'runs')]
        compare.main([str(suite), *folders, *options])
        return trained, json.loads((tmp_path / 'out/tiny.json').read_text())

    return run


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
    assert 'with contrast' in printed and ' reference |' in printed
    assert (tmp_path / 'out/tiny.png').stat().st_size > 1000

    # Nothing is left to do.
    assert run()[0] == []


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
    compare, run, tmp_path, monkeypatch
):
    run('--seeds', '0', '--methods', 'plain')
    shutil.rmtree(tmp_path / 'runs/tiny/first')
    hook = compare.MethodRecordHook
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


def test_a_start_without_weights_is_made_once_more(run, tmp_path):
    run('--seeds', '0', '--methods', 'plain')
    for path in (tmp_path / 'runs/tiny/first').glob('*/step1/*.pth'):
        path.unlink()
    trained, result = run('--seeds', '0', '--methods', 'contrast')
    assert trained == ['first', 'contrast']
    assert started_from(tmp_path).is_file()
    assert result['runs']['first/0']['images'] == 2 * 7


def test_a_run_that_cannot_go_on_begins_anew(compare, run, tmp_path, monkeypatch):
    hook = compare.MethodRecordHook
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


def test_one_call_at_a_time(compare, run, tmp_path):
    (tmp_path / 'out').mkdir()
    with compare.FileLock(tmp_path / 'out/.tiny.lock'):
        with pytest.raises(SystemExit, match='Another call writes to .*tiny.json'):
            run('--seeds', '0', '--methods', 'first')
    assert run('--seeds', '0', '--methods', 'first')[0] == ['first']


@pytest.mark.parametrize('epoch', [0, 1])
def test_goes_on_where_it_was_cut_off(compare, run, tmp_path, monkeypatch, epoch):
    """Also between the last checkpoint and its validation."""
    hook = compare.MethodRecordHook
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


def test_embeddings(run, suite, tmp_path, capsys):
    """They are measured after training, and of runs that lack them later."""
    options = ('--seeds', '0', '--methods', 'plain', 'contrast')
    _, before = run(*options)
    assert 'embeddings' not in before['runs']['plain/0']
    content = suite.read_text() + 'embeddings = dict(shots=[1], repeats=2, seed=0)\n'
    suite.write_text(content)
    trained, result = run(*options)
    assert trained == ['first', 'plain', 'contrast']
    figures = result['runs']['contrast/0']['embeddings']
    assert {'between/P@1', 'within/mAP@R', 'alignment', '1-shot/mAP'} <= set(figures)
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


@pytest.mark.parametrize(
    ('old', 'new', 'error', 'message'),
    [
        ("title = 'A title'", '', ValueError, r"lacks \['title'\]"),
        ("title = 'A title'", "titel = title = ''", ValueError, "'titel'"),
        ("start='first'", "start='frist'", ValueError, 'starts from frist'),
        ("until='step1'", "untl='step1'", ValueError, "'untl'"),
        ("start='first'", "reference='frist'", ValueError, 'refers to frist'),
        ("reference = 'plain'", "reference = 'none'", ValueError, 'reference none'),
        ("config='", "config='/nowhere", FileNotFoundError, 'there is no recipe'),
    ],
)
def test_bad_suites(compare, suite, old, new, error, message):
    suite.write_text(suite.read_text().replace(old, new))
    with pytest.raises(error, match=message):
        compare.load_suite(suite)


def test_missing_suite(compare):
    with pytest.raises(FileNotFoundError, match="no suite 'nowhere.py'"):
        compare.load_suite(Path('nowhere.py'))


@pytest.mark.parametrize('options', [('--seeds', '7'), ('--methods', 'nothing')])
def test_unknown_choice(run, options):
    with pytest.raises(ValueError, match='has no (seed|method)'):
        run(*options)


def test_hidden_labels(compare, load_config):
    """The wrapper is around the dataset of the config and of every step."""
    cfg = load_config()
    compare.hide_labels(cfg, compare.ConfigDict(keep=0.3, seed=1))
    outer = cfg.train_dataloader.dataset
    assert (outer.type, outer.keep) == ('HideLabels', 0.3)
    assert outer.dataset.type == 'CocoMultiLabel'
    cfg.merge_from_dict(cfg.steps.step2.to_dict())
    outer = cfg.train_dataloader.dataset
    assert outer.type == 'HideLabels' and outer.dataset.type == 'CocoMultiLabel'
    assert outer.dataset.pipeline[2].type == 'MultiView'


def test_tuning_on_a_part_of_train(compare, suite, run):
    suite.write_text(suite.read_text() + 'num_tuning = 3\n')
    loaded = compare.load_suite(suite)
    cfg = compare.method_config(loaded, 'contrast', seed=0)
    datasets = [
        compare.DATASETS.build(loader.dataset)
        for loader in (cfg.train_dataloader, cfg.val_dataloader)
    ]
    names = [
        [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        for dataset in datasets
    ]
    whole = Config.fromfile(loaded.methods.contrast.config).train_dataloader.dataset
    whole = compare.DATASETS.build(whole)
    paths = [whole.get_data_info(i)['img_path'] for i in range(len(whole))]
    assert names == [paths[:-3], paths[-3:]]
    # what is held out is shown as a validation image is
    assert 'MultiView' not in str(cfg.val_dataloader.dataset.pipeline)
    _, result = run('--seeds', '0', '--methods', 'contrast')
    assert result['num_tuning'] == 3
    assert result['runs']['contrast/0']['images'] == 2 * (len(paths) - 3) * 2

    loaded.num_tuning = len(paths)
    with pytest.raises(ValueError, match=f'below the {len(paths)} training images'):
        compare.method_config(loaded, 'contrast', seed=0)


def test_suites_of_the_project(compare):
    """All of them load; what they change is there to be changed."""
    paths = sorted(Path(compare.ROOT / 'benchmarks/suites').glob('*.py'))
    assert paths
    for path in paths:
        suite = compare.load_suite(path)
        # without the images, which are not everywhere
        for field in ('frozen', 'num_tuning'):
            suite.pop(field, None)
        for name in suite.methods:
            compare.method_config(suite, name, seed=0)


def test_fingerprint(compare, load_config, tmp_path):
    """Folders may move, settings may not change."""
    cfg = load_config(dict(load_from=str(tmp_path / 'here/file.pth')))
    moved = load_config(dict(load_from=str(tmp_path / 'there/file.pth')))
    for config in (cfg, moved):
        config.pop('work_dir')
    of = compare.fingerprint
    assert of(cfg) != of(moved)
    assert of(cfg, tmp_path / 'here') == of(moved, tmp_path / 'there')
    moved.train_cfg.max_epochs = 3
    assert of(cfg, tmp_path / 'here') != of(moved, tmp_path / 'there')


def test_fingerprint_tells_features_apart(compare, load_config):
    cfg = load_config()
    of = compare.fingerprint
    assert of(cfg, features='a') == of(cfg, features='a') != of(cfg, features='b')


def test_last_checkpoint(compare, tmp_path):
    """Of a config without steps and of the last one of several; also if moved."""
    assert compare.last_checkpoint(tmp_path) is None
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_1.pth')
    assert compare.last_checkpoint(tmp_path) is None
    (tmp_path / 'epoch_1.pth').touch()
    assert compare.last_checkpoint(tmp_path) == str(tmp_path / 'epoch_1.pth')
    for step, time in (('step2', 2e9 + 1), ('step1', 2e9)):
        (tmp_path / step).mkdir()
        (tmp_path / step / f'{step}.pth').touch()
        pointer = tmp_path / step / 'last_checkpoint'
        pointer.write_text(str(tmp_path / step / f'{step}.pth'))
        os.utime(pointer, (time, time))
    assert compare.last_checkpoint(tmp_path) == str(tmp_path / 'step2/step2.pth')


def test_is_trained(compare, load_config, tmp_path):
    """Of a config without steps, by its last epoch."""
    cfg = load_config()
    cfg.pop('steps')
    cfg.train_cfg.max_epochs = 2
    for epoch, expected in ((1, False), (2, True)):
        path = tmp_path / f'epoch_{epoch}.pth'
        path.touch()
        (tmp_path / 'last_checkpoint').write_text(str(path))
        assert compare.is_trained(cfg, tmp_path) is expected


def result_of(values):
    """A file of results with given mAP by method and seed."""
    return dict(
        name='tiny',
        title='A title',
        description='What is compared.',
        reference='a',
        methods={name: dict(label=name, start=None) for name in values},
        runs={
            f'{name}/{seed}': dict(
                metrics={f'multi-label/{key}': value for key in ('mAP', 'CF1', 'OF1')},
                mAP={'step1/8': value},
                images=1000,
                seconds=60,
                date='2026-01-01T00:00',
                commit='c',
                processor='cpu',
                cores=2,
                torch='2',
                jobs=1,
                threads=2,
            )
            for name, seeds in values.items()
            for seed, value in seeds.items()
        },
    )


def test_paired_differences(load):
    """Seed by seed, over the seeds that both have."""
    report = load('method_report')
    result = result_of(dict(a={0: 50.0, 1: 60.0, 2: 70.0}, b={1: 61.0, 2: 73.0, 3: 9}))
    assert report.differences(result, 'b', 'multi-label/mAP') == [1.0, 3.0]
    table = report.method_table(result)
    row = next(line for line in table.splitlines() if line.startswith('| b'))
    # t of one degree of freedom at 97.5 %: 12.706; half width 12.706 * 1.414 / 1.414
    assert '+2.00 (-10.71 to +14.71)' in row
    assert '1,000' in row and '1.0' in row


def test_own_reference(load):
    report = load('method_report')
    result = result_of(dict(a={0: 50.0}, b={0: 61.0}, c={0: 63.0}))
    assert 'reference |' not in report.method_table(result).splitlines()[0].replace(
        'mAP to reference |', ''
    )
    result['methods']['c']['reference'] = 'b'
    lines = report.method_table(result).splitlines()
    assert '| reference |' in lines[0]
    row = next(line for line in lines if line.startswith('| c'))
    assert ' b |' in row and '+2.00' in row
    row = next(line for line in lines if line.startswith('| b'))
    assert ' a |' in row and '+11.00' in row


def test_interval(load):
    interval = load('method_report').interval
    centre, low, high = interval([1.0, 2.0, 3.0])
    assert centre == 2
    # t of two degrees of freedom at 97.5 %: 4.3027
    assert low == pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4)
    assert high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)
    assert interval([4.0]) == (4.0, -math.inf, math.inf)


def test_costs_count_the_start(load):
    report = load('method_report')
    result = result_of(dict(a={0: 1.0}, b={0: 2.0}))
    result['methods']['b']['start'] = 'a'
    assert report.cost(result, 'b', 'images') == 2000


def test_first_steps(load):
    """Of those that train both, and of those that start from another's."""
    report = load('method_report')
    result = result_of(dict(a={0: 50.0, 1: 60.0}, b={1: 61.0}, c={0: 70.0, 1: 71.0}))
    assert 'after step 1' not in report.method_table(result)
    result['methods']['b']['start'] = 'a'
    for name, by_epoch in (
        ('c/0', {'step1/4': 1.0, 'step1/8': 2.0, 'step2/4': 70.0}),
        ('c/1', {'step1/8': 3.0, 'step2/4': 71.0}),
    ):
        result['runs'][name]['mAP'] = by_epoch
    assert report.first_steps(result, 'a') == []
    assert report.first_steps(result, 'b') == [60.0]
    assert report.first_steps(result, 'c') == [2.0, 3.0]
    table = report.method_table(result).splitlines()
    assert '| mAP after step 1 |' in table[0]
    assert '2.50 ± 0.71' in next(line for line in table if line.startswith('| c'))
