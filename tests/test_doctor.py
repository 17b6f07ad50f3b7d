# SPDX-License-Identifier: Apache-2.0
import importlib.util

import pytest
import torch

from mlcl_plugin.commands import main
from mlcl_plugin.doctor import examination, examine, tiny_pass
from mlcl_plugin.doctor.machine import describe_machine


def test_sound(capsys):
    assert main(['doctor']) == 0
    out = capsys.readouterr().out
    for text in (torch.__version__.partition('+')[0], 'model on cpu', 'processor'):
        assert text in out
    assert 'BROKEN' not in out


def parts():
    return {fact.part: fact for fact in examine()}


def test_missing_package(monkeypatch, capsys):
    monkeypatch.setattr(examination, 'has_module', lambda name: name != 'mmcv')
    assert main(['doctor']) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert 'BROKEN: mlcl_plugin cannot find the files of' in last and 'pip' in last


def test_two_families(monkeypatch):
    found = {'mmengine': '0.10.7', 'onedl-mmengine': '0.10.12', 'torch': '2.6'}
    monkeypatch.setattr(examination, 'installed_distributions', lambda: found)
    assert 'pip uninstall' in parts()['packages'].text


def test_broken_package(monkeypatch, capsys):
    def fail():
        print('a note')
        raise ImportError('mlcl_plugin cannot import `mmcv`: mend it.')

    monkeypatch.setattr(examination, 'import_stack', fail)
    assert main(['doctor']) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].endswith(
        'BROKEN: mlcl_plugin cannot import `mmcv`: mend it.'
    )
    assert err == 'a note\n'


def test_broken_model(monkeypatch, capsys):
    def fail(device):
        raise RuntimeError('no kernel\nimage')

    monkeypatch.setattr(tiny_pass, 'tiny_pass', fail)
    monkeypatch.setenv('MLCL_DEBUG', '')
    assert main(['doctor', '--debug']) == 1
    out, err = capsys.readouterr()
    last = out.splitlines()[-1]
    assert (
        last.startswith('model ') and 'RuntimeError: no kernel image (raised in' in last
    )
    assert err.startswith('Traceback')


def test_missing_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'timm' else find(name)
    )
    fact = parts()['no timm']
    assert 'mlcl_plugin[efficientnet]' in fact.text and fact.error is None


def test_machine(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    facts = dict(describe_machine())
    assert 'OMP_NUM_THREADS=7' in facts['threads'] and facts['matrix products']


class TestPass:
    def test_leaves_random_numbers_alone(self):
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        assert tiny_pass.tiny_pass('cpu') > 0
        assert torch.rand(1) == expected

    @pytest.mark.parametrize('value', [float('nan'), float('inf')])
    def test_loss_that_is_not_finite(self, value):
        with pytest.raises(FloatingPointError, match='loss of a tiny model is'):
            tiny_pass._check(torch.nn.Linear(1, 1), torch.tensor(value))

    def test_missing_gradient(self):
        with pytest.raises(RuntimeError, match='weight of a tiny model has no grad'):
            tiny_pass._check(torch.nn.Linear(1, 1), torch.tensor(1.0))


def test_damaged_weights(monkeypatch, tmp_path):
    (tmp_path / 'a.safetensors').write_text('a')
    (tmp_path / 'a.sha256').write_text('b')
    monkeypatch.setattr('mlcl_plugin.weights.shipped.folder', lambda: tmp_path)
    assert parts()['weights'].text.startswith(f'{tmp_path}/a.safetensors is damaged')
