# SPDX-License-Identifier: Apache-2.0
import os

import pytest
from mmengine.config import Config

from mlcl_plugin.engine import load_config
from mlcl_plugin.recipes import find_config
from mlcl_plugin.reports.page import plain_config
from mlcl_plugin.reports.page.plain_config import read_plain_config


def read(tmp_path, text):
    path = tmp_path / 'config.py'
    path.write_text(text)
    return read_plain_config(path)


def test_what_mmengine_writes(tmp_path):
    cfg = load_config(find_config('mlcl_efflite0_voc07_frozen'))
    cfg.other = dict(a={1, 2}, b=set(), c=-1e-8, d=(1,), e={'x y': b'z'})
    path = tmp_path / 'dumped.py'
    cfg.dump(path)
    assert read_plain_config(path) == Config.fromfile(path).to_dict()


def test_literals(tmp_path):
    text = (
        'a = b = -1.5\nc = dict(x=[1, (2,)], y=dict())\n'
        "d = {'1-2': None, 3: True}\ne = dict({'.': 1}, f=set())"
    )
    assert read(tmp_path, text) == dict(
        a=-1.5,
        b=-1.5,
        c=dict(x=[1, (2,)], y={}),
        d={'1-2': None, 3: True},
        e={'.': 1, 'f': set()},
    )


@pytest.mark.parametrize(
    'text',
    [
        "import os\nos.mkdir('DONE')",
        "a = __import__('os').mkdir('DONE')",
        "a = dict(b=__import__('os').mkdir('DONE'))",
        "a = [open('DONE', 'w') for _ in [1]]",
        "dict = open\na = dict('DONE', 'w')",
        'a = dict(**{})',
        'a = {**{}}',
        'a, b = 1, 2',
        'a.b = 1',
        'a += 1',
        'a = f"{1}"',
        'a = ',
        'a = "\0"',
        'a = ' + '-' * 5000 + '1',
        'a = ' + '[' * 5000 + ']' * 5000,
    ],
)
def test_all_else_is_refused_and_not_run(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='no config as MMEngine writes it'):
        read(tmp_path, text)
    assert not os.path.exists('DONE')


def test_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_config, 'MAX_BYTES', 3)
    with pytest.raises(ValueError, match='more than 3 bytes'):
        read(tmp_path, 'a = 1')


def test_pipe(tmp_path):
    os.mkfifo(tmp_path / 'config.py')
    with pytest.raises(ValueError, match='named pipe'):
        read_plain_config(tmp_path / 'config.py')
