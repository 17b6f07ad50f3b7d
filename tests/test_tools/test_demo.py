# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from mlcl_plugin.digits_demo.report import MODELS
from mlcl_plugin.engine.pointers import FINISHED

ROOT = Path(__file__).parents[2]
PATH = ROOT / 'tools/demo.py'
spec = importlib.util.spec_from_file_location('tools_demo', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_other_options(tmp_path, ends_with_line):
    """A demo is not resumed with other options; the message names the flag."""
    work = tmp_path / 'work'
    work.mkdir()
    (work / 'demo.json').write_text('{"settings": {}, "started": 0}')
    with ends_with_line(r'^demo: .* was started with .* without --resume\.$'):
        tool.main(['--work-dir', str(work), '--resume'])


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
    assert list(results['models']) == list(MODELS)
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

    (work / 'no_contrast/step2' / FINISHED).unlink()
    (work / 'no_contrast/step2/last_checkpoint').unlink()
    checkpoint = work / 'contrast/step2/epoch_1.pth'
    written = checkpoint.stat().st_mtime_ns
    out = run('--resume')
    assert 'finished already' in out and checkpoint.stat().st_mtime_ns == written
    again = json.loads((work / 'results.json').read_text())
    assert again['resumed'] and not results['resumed']
    for model, values in again['models'].items():
        assert values['mAP'] == pytest.approx(results['models'][model]['mAP'])
