# SPDX-License-Identifier: Apache-2.0
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mlcl_plugin.commands import make_parser
from mlcl_plugin.commands.train import merge_args
from mlcl_plugin.digits_demo import commands
from mlcl_plugin.digits_demo.commands import FailedCommandError, call_command
from mlcl_plugin.digits_demo.parts import Demo, DemoOptions
from mlcl_plugin.digits_demo.report import MODELS
from mlcl_plugin.engine import find_start, load_config
from mlcl_plugin.engine.pointers import FINISHED

DEFAULTS = dict(data_root=Path('data/digit_scenes_48px'))


@pytest.fixture
def demo(tmp_path):
    """Function that makes a demo in the test's folder."""

    def make(**options):
        options = DemoOptions(**(DEFAULTS | options), work_dir=tmp_path / 'work')
        return Demo(options)

    return make


@pytest.fixture
def calls(monkeypatch):
    """The commands that are called, instead of running them."""
    calls = []

    def process(target, args):
        return SimpleNamespace(
            start=lambda: calls.append(args[0]), join=lambda: None, exitcode=0
        )

    monkeypatch.setattr(commands, 'CONTEXT', SimpleNamespace(Process=process))
    return calls


def merged(command):
    """The config that a command `mlcl train` trains with."""
    args = make_parser('train').read(command[1:])
    return merge_args(load_config(args.config), args)


def leave(demo, model, name, content):
    """Let a file be left in the folder of a training step."""
    path = demo.folder(model) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def finish(demo, model):
    leave(demo, model, FINISHED, f'{demo.folder(model)}/epoch_9.pth')


def test_answer(demo, calls):
    demo().answer()
    ((command, path),) = calls
    assert command == 'infer' and Path(path).is_file()


def test_scenes(demo, calls):
    demo(num_train=7, data_root=Path('somewhere')).make_scenes()
    ((command, folder, *options),) = calls
    assert command == 'digits' and folder == 'somewhere'
    assert {'--num-train=7', '--num-val=1000', '--image-size=48'} <= set(options)


def test_data_root(demo):
    """Named where it is not the config's own."""
    assert demo(seed=3).cfg_options == ['randomness.seed=3']
    options = demo(data_root=Path('there'), cfg_options=['a.b=1']).cfg_options
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
    one = demo(resume=True)
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
    for model in MODELS:
        finish(one, model)
        leave(one, model, 'last_checkpoint', 'epoch_9.pth')
        leave(one, model, 'epoch_9.pth', 'weights')
    for name in ('results.md', 'results.json', 'predictions.png'):
        (tmp_path / 'work' / name).write_text('old')
    two = demo()
    left = sorted(p.name for p in (tmp_path / 'work').rglob('*') if p.is_file())
    assert left == ['demo.json'] + ['epoch_9.pth'] * 3
    assert not any(map(two.finished, MODELS))
    two.train()
    assert '--resume' not in calls.pop()


def test_resume_nothing(demo, calls):
    """As the training itself: there is nothing, so it starts."""
    demo(resume=True).train()
    assert '--resume' not in calls.pop()


def test_resume_with_other_options(demo):
    demo(seed=1)
    demo(seed=1, resume=True)
    with pytest.raises(ValueError, match='Resume with the same options'):
        demo(seed=2, resume=True)


def test_failure(demo, capfd):
    """Of a real command."""
    message = r'mlcl digits failed \(exit code 2\)'
    with pytest.raises(FailedCommandError, match=message):
        demo(num_train=-1).make_scenes()
    printed = capfd.readouterr()
    assert printed.out.startswith(
        '\n$ mlcl digits data/digit_scenes_48px --num-train=-1'
    )
    assert printed.err.splitlines()[-1].startswith('mlcl digits: ')


def test_command(capfd):
    call_command('models', 'linear_yeast')
    assert 'linear_yeast' in capfd.readouterr().out.splitlines()[-1]


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
