# SPDX-License-Identifier: Apache-2.0
"""Tests of the environment of the Makefile. They install nothing."""

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location('setup_venv', ROOT / '.ci/setup_venv.py')
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the files that the environment is made from, to change."""
    folder = tmp_path / 'checkout'
    folder.mkdir()
    for name in (*tool.MADE_FROM, tool.CONSTRAINTS, 'oldest.txt'):
        (folder / name).write_text(name)
    monkeypatch.setattr(tool, 'ROOT', folder)
    return folder


@pytest.fixture
def setup(checkout, monkeypatch, capsys):
    """Function that runs the script on a folder.

    It returns the steps that ran, a list of 'venv' and 'pip', and the output.
    ``setup.gone`` holds the missing modules, ``setup.fails`` names the step that fails,
    and ``setup.repairs`` tells whether pip installs missing modules.
    """

    def run(command, **kwargs):
        python, flag, argument, *rest = map(str, command)
        if flag == '-c':
            if not Path(python).exists():
                raise FileNotFoundError(python)
            names = argument.removeprefix('import ').split(', ')
            return SimpleNamespace(returncode=int(bool(call.gone & set(names))))
        call.done.append(argument)
        if argument == 'venv':
            assert python == sys.executable
            Path(rest[0], 'bin').mkdir()
            tool.python_of(Path(rest[0])).write_text('')
        else:
            assert rest[0] == 'install' and rest[-2] == '--editable'
            assert kwargs['cwd'] == checkout
            call.target = rest[-1]
            call.constraints = [
                value
                for name, value in itertools.pairwise(rest)
                if name == '--constraint'
            ]
            if call.repairs:
                call.gone = set()
        if call.fails == 'interrupted ' + argument:
            raise KeyboardInterrupt
        return SimpleNamespace(returncode=int(call.fails == argument))

    def call(venv, *options):
        call.done = []
        monkeypatch.setattr(sys, 'argv', ['setup_venv.py', str(venv), *options])
        tool.main()
        return call.done, capsys.readouterr().out

    call.done, call.gone, call.fails, call.repairs = [], set(), None, True
    monkeypatch.setattr(tool.os, 'name', 'posix')
    monkeypatch.setattr(tool.subprocess, 'run', run)
    return call


@pytest.fixture
def venv(tmp_path, setup):
    """A complete environment."""
    folder = tmp_path / 'venv'
    done, said = setup(folder)
    assert done == ['venv', 'pip'] and 'making' in said and 'tests run' not in said
    (folder / 'lib').mkdir()
    (folder / 'lib/old').write_text('')
    return folder


def test_up_to_date(setup, venv):
    done, said = setup(venv)
    assert done == [] and 'up to date' in said
    assert (venv / 'lib/old').exists()


def test_link(setup, venv, tmp_path):
    (tmp_path / 'link').symlink_to(venv)
    assert setup(tmp_path / 'link')[0] == []


@pytest.mark.parametrize('name', [*tool.MADE_FROM, tool.CONSTRAINTS])
def test_made_from_something_else(setup, venv, checkout, name):
    (checkout / name).write_text('other')
    assert setup(venv)[0] == ['pip']
    assert (venv / 'lib/old').exists()
    assert setup(venv)[0] == []


@pytest.mark.parametrize('name', tool.TOOLS)
def test_tool_is_gone(setup, venv, name):
    setup.gone = {name}
    assert setup(venv)[0] == ['pip']
    assert (venv / 'lib/old').exists()
    assert setup(venv)[0] == []
    # pip lists it as installed
    setup.gone, setup.repairs = {name}, False
    with pytest.raises(SystemExit, match='cannot be imported'):
        setup(venv)
    setup.repairs = True
    done, said = setup(venv)
    assert done == ['venv', 'pip'] and 'is incomplete' in said


def test_family_and_constraints(setup, venv):
    assert setup.target == '.[onedl,demo,export,tools,tune,dev]'
    assert setup.constraints == ['constraints.txt']
    assert setup(venv, '--family', 'openmmlab', '--constraints', '')[0] == ['pip']
    assert setup.target == '.[openmmlab,demo,export,tools,tune,dev]'
    assert setup.constraints == []
    assert setup(venv, '--family', 'openmmlab', '--constraints', '')[0] == []
    assert setup(venv, '--constraints', 'oldest.txt')[0] == ['pip']
    assert setup.constraints == ['oldest.txt']


@pytest.mark.skipif(not shutil.which('make'), reason='needs make')
@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ([], '--family "onedl" --constraints "constraints.txt"'),
        (['FAMILY=openmmlab'], '--family "openmmlab" --constraints ""'),
        (['CONSTRAINTS=a.txt'], '--family "onedl" --constraints "a.txt"'),
    ],
)
def test_what_make_passes_on(options, expected):
    call = subprocess.run(
        [shutil.which('make'), '--dry-run', 'setup', 'PYTHON=python', *options],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith(('MAKE', 'MFL'))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected in ' '.join(call.stdout.replace('\\', ' ').split())


def test_moved(setup, venv, tmp_path):
    moved = venv.rename(tmp_path / 'moved')
    done, said = setup(moved)
    assert done == ['venv', 'pip'] and 'for another place' in said
    assert not (moved / 'lib').exists()
    assert setup(moved)[0] == []


def test_other_python(setup, venv, monkeypatch):
    monkeypatch.setattr(sys, '_base_executable', '/elsewhere/python', raising=False)
    done, said = setup(venv)
    assert done == ['venv', 'pip'] and 'by another Python' in said


@pytest.mark.parametrize('damage', ['no_python', 'no_pip', 'mark'])
def test_does_not_run(setup, venv, damage):
    if damage == 'no_python':
        tool.python_of(venv).unlink()
    elif damage == 'no_pip':
        setup.gone = {'pip'}
    else:
        (venv / tool.MARK).write_text('{')
    assert setup(venv)[0] == ['venv', 'pip']
    assert not (venv / 'lib').exists()


@pytest.mark.parametrize(
    'fails', ['venv', 'pip', 'interrupted venv', 'interrupted pip']
)
def test_half_made(setup, tmp_path, fails):
    folder = tmp_path / 'new/venv'
    setup.fails = fails
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        setup(folder)
    (folder / 'rest').write_text('')
    setup.fails = None
    done, said = setup(folder)
    assert done == ['venv', 'pip'] and 'is incomplete' in said
    assert not (folder / 'rest').exists()
    assert setup(folder)[0] == []


@pytest.mark.parametrize('kind', ['folder', 'file', 'venv'])
def test_folder_that_something_else_made(setup, tmp_path, kind):
    folder = tmp_path / 'theirs'
    if kind == 'file':
        folder.write_text('theirs')
    else:
        folder.mkdir()
        (folder / ('pyvenv.cfg' if kind == 'venv' else 'thesis.tex')).write_text('')
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(SystemExit, match='`make setup` did not make it'):
        setup(folder)
    assert setup.done == [] and sorted(tmp_path.rglob('*')) == before


def test_empty_folder(setup, tmp_path):
    (tmp_path / 'empty').mkdir()
    assert setup(tmp_path / 'empty')[0] == ['venv', 'pip']


def test_newer_python(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'NEWEST_TESTED', (3, 9))
    assert 'the tests run up to Python 3.9.' in setup(tmp_path / 'venv')[1]


@pytest.mark.skipif(not shutil.which('make'), reason='needs make')
@pytest.mark.parametrize(
    ('found', 'chosen'),
    [
        ({'python3': 11, 'python3.12': 12}, 'python3'),
        ({'python3': 14, 'python3.12': 12, 'python3.11': 11}, 'python3.12'),
        ({'python3': 13, 'python3.12': 12}, 'python3'),
        ({'python3': 10, 'python3.11': 11}, 'python3.11'),
        ({'python3': 9, 'python3.10': 10}, ''),
        ({'python3': 15, 'python3.14': 14}, 'python3'),
        ({'python3': 14, 'python3.13': 13}, 'python3.13'),
        ({'python3': 9, 'python3.13': 13}, 'python3.13'),
        ({'python3': 9}, ''),
        ({}, ''),
    ],
)
def test_python_that_make_takes(tmp_path, found, chosen):
    for name, minor in found.items():
        (tmp_path / name).write_text(
            f'#!{sys.executable} -S\n'
            f'import sys\nsys.version_info = (3, {minor}, 0)\nexec(sys.argv[2])\n'
        )
        (tmp_path / name).chmod(0o755)
    for name in ('awk', 'echo', 'sh'):
        (tmp_path / name).symlink_to(shutil.which(name))
    # The tests may be run by make, and with another PYTHON.
    environ = {
        key: value
        for key, value in os.environ.items()
        if key != 'PYTHON' and not key.startswith(('MAKE', 'MFLAGS'))
    }
    call = subprocess.run(
        [shutil.which('make'), 'help'],
        cwd=ROOT,
        env=environ | dict(PATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = (line for line in call.stdout.splitlines() if 'PYTHON=' in line)
    assert line.partition('makes')[0].strip() == f'PYTHON={chosen}'


@pytest.mark.parametrize(('free', 'said'), [(50, []), (5.04, ['5.0'])])
def test_small_disk(setup, tmp_path, monkeypatch, free, said):
    """One line, before pip starts; the disk of both folders is the same."""
    usage = SimpleNamespace(free=free * 1e9)
    monkeypatch.setattr(tool.shutil, 'disk_usage', lambda place: usage)
    monkeypatch.setattr(tool.tempfile, 'gettempdir', lambda: str(tmp_path))
    done, out = setup(tmp_path / 'venv')
    assert done == ['venv', 'pip']
    lines = [line for line in out.splitlines() if 'are free' in line]
    assert [line.split(': ')[1].split(' GB')[0] for line in lines] == said
    assert all('up to 10 GB are needed' in line for line in lines)
