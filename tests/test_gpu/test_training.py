# SPDX-License-Identifier: Apache-2.0
"""Short trainings: the recipe for digits, a kill, `mlcl fit`, pinned memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from mlcl_plugin.commands import main
from mlcl_plugin.engine import set_default_dataloader_cfg
from tests.child_process import UNFORMATTED
from tests.test_fit.test_read_data import make_many

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.gpu


def read_scalars(folder):
    """The values that a step has logged."""
    (path,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize('precision', ['float32', 'amp'])
def test_digits(trained_digits, precision, device):
    """Both steps learn; losses are finite, of float16 as well."""
    work_dir = trained_digits(precision)
    for step in ('step1', 'step2'):
        lines = read_scalars(work_dir / step)
        losses = [line['loss'] for line in lines if 'loss' in line]
        assert len(losses) >= 4
        assert sum(losses[-2:]) < sum(losses[:2])
        assert all(('memory' in x) == (device.type == 'cuda') for x in lines[:1])
    maps = [x['multi-label/mAP'] for x in lines if 'multi-label/mAP' in x]
    assert maps and all(0 < value <= 100 for value in maps)


@pytest.mark.slow
def test_a_killed_training_resumes_exactly(environment):
    """Dropout, EMA and memory included: bit for bit, with deterministic algorithms."""
    result = subprocess.run(
        [
            *(sys.executable, 'tests/soak_resume.py', '--deterministic'),
            *('--kills', '2', '--workers', '1', '--epochs', '2'),
            *('--images', '40', '--longest', '6'),
        ],
        cwd=ROOT,
        env=dict(environment, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert 'equal bit for bit' in result.stdout


def test_fit(device, tmp_path, monkeypatch, small_backbone):
    monkeypatch.setattr(*UNFORMATTED)
    monkeypatch.setattr(
        'mlcl_plugin.fit.run.find_backbone', lambda name: small_backbone
    )
    table, out = make_many(tmp_path / 'photos', 30), tmp_path / 'out'
    options = ['--classes', 'cat', 'dog', '--image-size', '32', '--epochs', '2']
    call = ['fit', str(table), '--out', str(out), '--device', device.type, *options]
    assert main(call) == 0
    assert (out / 'decisions.json').is_file()
    state = torch.load(out / 'model.pth', weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in state.values())


def test_pinned_memory(load_config, device):
    """Images of workers are pinned for a GPU, and arrive there as they are."""
    cfg = load_config({'train_dataloader.num_workers': 1})
    init_default_scope('mmpretrain')
    set_default_dataloader_cfg(cfg)
    has_gpu = torch.cuda.is_available()
    assert cfg.train_dataloader.pin_memory is has_gpu
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    preprocessor = MODELS.build(cfg.data_preprocessor).to(device)
    alone = MODELS.build(cfg.data_preprocessor)
    number = 0
    for data in loader:
        assert all(x.is_pinned() is has_gpu for x in data['inputs'])
        expected = alone(data, True)['inputs']
        inputs = preprocessor(data, True)['inputs']
        assert inputs.device.type == device.type
        torch.testing.assert_close(inputs.cpu(), expected)
        number += len(inputs)
    assert number == len(loader.dataset) > 0


@pytest.mark.slow
def test_config_of_the_training(trained_digits, device):
    """Mixed precision is float16 with a loss scale on a GPU, bfloat16 on a CPU."""
    (path,) = trained_digits('amp').glob('step2/*.py')
    kind = Config.fromfile(path).optim_wrapper.type
    expected = dict(cuda='AmpOptimWrapper', cpu='AutocastOptimWrapper')
    assert kind == expected[device.type]
