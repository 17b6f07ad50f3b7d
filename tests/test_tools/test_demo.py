# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from mmengine.config import Config

from mlcl_plugin.engine import find_start

ROOT = Path(__file__).parents[2]
PATH = ROOT / 'tools/demo.py'
spec = importlib.util.spec_from_file_location('tools_demo', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
spec = importlib.util.spec_from_file_location('demo_train', ROOT / 'tools/train.py')
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)


@pytest.fixture
def demo(tmp_path):
    """Function that makes a demo in the test's folder."""

    def make(*options):
        args = ['--work-dir', str(tmp_path / 'work'), *options]
        return tool.Demo(tool.parse_args(args))

    return make


@pytest.fixture
def calls(monkeypatch):
    """The commands that are called, instead of running them."""
    calls = []

    def run(command):
        assert command[0] == sys.executable
        assert Path(command[1]).is_file()
        calls.append(command[1:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(tool.subprocess, 'run', run)
    return calls


def merged(command):
    """The config that a command of tools/train.py trains with."""
    args = train.parse_args(command[1:])
    return train.merge_args(Config.fromfile(args.config), args)


def leave(demo, model, name, content):
    """Let a file be left in the folder of a training step."""
    path = demo.folder(model) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def finish(demo, model):
    leave(demo, model, tool.FINISHED, f'{demo.folder(model)}/epoch_9.pth')


def test_scenes(demo, calls):
    demo('--num-train', '7', '--data-root', 'somewhere').make_scenes()
    ((script, folder, *options),) = calls
    assert script.endswith('make_digit_scenes.py') and folder == 'somewhere'
    assert {'--num-train=7', '--num-val=1000', '--image-size=64'} <= set(options)


def test_data_root(demo):
    """Named where it is not the config's own."""
    assert demo('--seed', '3').options == ['randomness.seed=3']
    options = demo('--data-root', 'there', '--cfg-options', 'a.b=1').options
    assert options == [
        'randomness.seed=0',
        'train_dataloader.dataset.data_root=there',
        'val_dataloader.dataset.data_root=there',
        'test_dataloader.dataset.data_root=there',
        'a.b=1',
    ]


def test_control(demo, calls, tmp_path):
    """It differs from step 2 in the contrast only."""
    work = tmp_path / 'work'
    one = demo()
    finish(one, 'step1')
    one.train()
    one.train_control()
    (_, config, _, folder, *options), (_, other, _, folder2, *options2) = calls
    assert config == other
    assert Path(folder).resolve() == work / 'contrast'
    assert Path(folder2).resolve() == work / 'no_contrast'
    assert options == ['--cfg-options', 'randomness.seed=0']
    start, contrast = options2[1:3]
    assert Path(start.removeprefix('load_from=')).resolve() == (
        work / 'contrast/step1/epoch_9.pth'
    )
    assert contrast == 'steps.step2.model.head.loss_contrastive=None'
    assert options2[3:] == options[1:]


def test_resume(demo, calls):
    """Finished trainings are left alone; others go on where they stopped."""
    finish(demo(), 'step1')
    one = demo('--resume')
    one.train()
    assert '--resume' in calls.pop()

    finish(one, 'step2')
    one.train()
    assert not calls

    # not begun: from the weights of step 1
    one.train_control()
    cfg = merged(calls.pop())
    assert not cfg.resume
    assert Path(cfg.load_from).resolve() == one.checkpoint('step1').resolve()

    # begun: from its own last checkpoint
    model = 'step2_without_contrast'
    latest = one.folder(model) / 'epoch_2.pth'
    leave(one, model, 'epoch_2.pth', '')
    parts = ('meta', 'message_hub', 'state_dict', 'optimizer')
    torch.save({part: {} for part in parts}, latest)
    leave(one, model, 'last_checkpoint', str(latest))
    one.train_control()
    cfg = merged(calls.pop())
    assert cfg.resume and cfg.load_from is None
    start = find_start(cfg)
    assert (start.step, Path(start.resume_from).resolve()) == (
        'step2',
        latest.resolve(),
    )

    finish(one, model)
    one.train_control()
    assert not calls


def test_start_anew(demo, calls, tmp_path):
    """What an older demo has left is neither resumed nor shown."""
    one = demo()
    for model in tool.MODELS:
        finish(one, model)
        leave(one, model, 'last_checkpoint', 'epoch_9.pth')
        leave(one, model, 'epoch_9.pth', 'weights')
    for name in ('results.md', 'results.json', 'predictions.png'):
        (tmp_path / 'work' / name).write_text('old')
    two = demo()
    left = sorted(p.name for p in (tmp_path / 'work').rglob('*') if p.is_file())
    assert left == ['demo.json'] + ['epoch_9.pth'] * 3
    assert not any(map(two.finished, tool.MODELS))
    two.train()
    assert '--resume' not in calls.pop()


def test_resume_nothing(demo, calls):
    """As the training itself: there is nothing, so it starts."""
    demo('--resume').train()
    assert '--resume' not in calls.pop()


def test_resume_with_other_options(demo):
    demo('--seed', '1')
    demo('--seed', '1', '--resume')
    with pytest.raises(SystemExit, match='Resume with the same options'):
        demo('--seed', '2', '--resume')


def test_failure(demo, monkeypatch):
    result = SimpleNamespace(returncode=3)
    monkeypatch.setattr(tool.subprocess, 'run', lambda command: result)
    with pytest.raises(SystemExit, match=r'train.py failed \(exit code 3\)'):
        demo().train()


def test_minutes(demo):
    """All sessions of this demo count, none of an older one."""
    one = demo()
    for start, seconds in ((-5000, 600), (0, 60), (300, 30)):
        start += one.started
        name = time.strftime('%Y%m%d_%H%M%S', time.localtime(start))
        leave(one, 'step1', f'{name}/{name}.log', '')
        end = int(start) + seconds
        os.utime(one.folder('step1') / name / f'{name}.log', (end, end))
    assert one.minutes('step1') == pytest.approx(1.5)


@pytest.mark.parametrize('resumed', [True, False])
def test_report(resumed):
    values = {key: 90 + i for i, key in enumerate(tool.METRICS)} | {'minutes': 1.25}
    content = dict(
        models=dict.fromkeys(tool.MODELS, values),
        scenes=dict(train=5000, val=1000),
        seed=4,
        command='python tools/demo.py --seed 4',
        date='2024-02-29T12:00+00:00',
        minutes=6.54,
        resumed=resumed,
        hardware=tool.describe_hardware(),
        versions=tool.installed_versions(tool.PACKAGES),
    )
    text = tool.format_report(content)
    table = [line for line in text.splitlines() if line.startswith('|')]
    assert len({len(line) for line in table}) == 1
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table]
    assert cells[0][1:] == ['mAP', 'CF1', 'OF1', 'top-3 CF1', 'top-3 OF1', 'minutes']
    expected = ['90.00', '91.00', '92.00', '93.00', '94.00', '1.2']
    assert cells[3] == ['step 2 without contrast', *expected]
    for part in (
        '`python tools/demo.py --seed 4`',
        'seed: 4',
        '2024-02-29',
        '6.5 minutes',
    ):
        assert part in text
    assert ('since it was resumed' in text) is resumed
    assert ' cores' in text and 'torch ' in text and 'mlcl_plugin ' in text


@pytest.mark.slow
def test_whole(tmp_path):
    """The real parts, on few scenes for a few iterations, and resumed after a crash."""
    work = tmp_path / 'work'
    command = [sys.executable, str(PATH), '--work-dir', str(work), '--seed', '5']
    command += ['--data-root', str(tmp_path / 'scenes')]
    command += ['--num-train', '64', '--num-val', '20', '--num-images', '2']
    command += ['--cfg-options', 'default_hooks.logger.interval=1']
    command += [f'steps.step{step}.train_cfg.max_epochs=1' for step in (1, 2)]
    command += [
        f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')
    ]

    def run(*options):
        path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
        done = subprocess.run(
            [*command[:2], *options, *command[2:]],
            cwd=tmp_path,
            env=os.environ | dict(PYTHONPATH=path),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    out = run()
    results = json.loads((work / 'results.json').read_text())
    assert results['seed'] == 5 and results['scenes'] == dict(train=64, val=20)
    assert (work / 'results.md').read_text() in out
    assert cv2.imread(str(work / 'predictions.png')) is not None
    assert list(results['models']) == list(tool.MODELS)
    for values in results['models'].values():
        assert 0 < values['mAP'] <= 100 and 0 < values['minutes'] < 5
    losses = {}
    for folder in ('contrast/step1', 'contrast/step2', 'no_contrast/step2'):
        (log,) = (work / folder).glob('*/vis_data/scalars.json')
        losses[folder] = json.loads(log.read_text().splitlines()[0])
        assert list(log.parent.glob('events.out.tfevents.*'))
    assert 'loss_contrastive' not in losses['no_contrast/step2']
    assert losses['contrast/step2']['loss_contrastive'] > 0
    # the same weights and the same views of the same images
    assert losses['contrast/step2']['loss_cls'] == pytest.approx(
        losses['no_contrast/step2']['loss_cls'], rel=1e-4
    )
    assert losses['contrast/step1']['loss_cls'] != pytest.approx(
        losses['no_contrast/step2']['loss_cls'], rel=1e-4
    )

    (work / 'no_contrast/step2' / tool.FINISHED).unlink()
    (work / 'no_contrast/step2/last_checkpoint').unlink()
    checkpoint = work / 'contrast/step2/epoch_1.pth'
    written = checkpoint.stat().st_mtime_ns
    out = run('--resume')
    assert 'finished already' in out and checkpoint.stat().st_mtime_ns == written
    again = json.loads((work / 'results.json').read_text())
    assert again['resumed'] and not results['resumed']
    for model, values in again['models'].items():
        assert values['mAP'] == pytest.approx(results['models'][model]['mAP'])
