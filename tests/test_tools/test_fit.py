# SPDX-License-Identifier: Apache-2.0
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_fit.test_read_data import make_many

PATH = Path(__file__).parents[2] / 'tools/fit.py'
spec = importlib.util.spec_from_file_location('tools_fit', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['no.csv'], "There is no 'no.csv', expected a table"),
        (
            ['.', '--time', 'soon'],
            "expected a time such as 90s, 10m or 1.5h, got 'soon'",
        ),
        (['.', '--epochs', '0'], 'got --epochs 0'),
        (['.', '--image-size', '9'], 'got --image-size 9'),
        (['.', '--val', '1.5'], 'got --val 1.5'),
    ],
)
def test_wrong_input_ends_with_one_line(args, message, tmp_path, ends_with_line):
    with ends_with_line(message):
        tool.main([*args, '--out', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('fit.json', 'has a fit already. Continue it with --resume, choose another'),
        ('other.txt', 'is not empty and has no fit. Choose another folder: --out DIR'),
    ],
)
def test_folder_in_use_is_told_before_the_imports(
    name, message, tmp_path, ends_with_line, monkeypatch
):
    (tmp_path / name).write_text('{}')

    def no_import():
        raise AssertionError('the stack was imported')

    monkeypatch.setattr('mlcl_plugin.register', no_import)
    with ends_with_line(message):
        tool.main(['.', '--out', str(tmp_path)])
    with ends_with_line('is a file. Choose a folder: --out DIR'):
        tool.main(['.', '--out', str(tmp_path / name)])


def test_two_lengths_of_training(tmp_path, ends_with_line):
    with ends_with_line('not allowed with argument'):
        tool.main(['.', '--out', str(tmp_path), '--time', '1m', '--epochs', '2'])


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit, match='^0$'):
        tool.main(['--help'])
    assert capsys.readouterr().out.count('  mlcl fit ') == 2


@pytest.mark.slow
def test_the_console_has_two_screens(tmp_path):
    """In a process of its own, as loggers are made by the command there."""
    table = make_many(tmp_path / 'photos', 30)
    options = '--out out --classes cat dog --image-size 32 --epochs 2'.split()
    done = subprocess.run(
        [sys.executable, '-m', 'mlcl_plugin', 'fit', str(table), *options],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(PATH.parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len((done.stdout + done.stderr).splitlines()) <= 60, done.stdout
