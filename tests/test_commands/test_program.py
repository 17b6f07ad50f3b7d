# SPDX-License-Identifier: Apache-2.0
"""Only the commands of the package read their arguments before it registers."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mlcl_plugin._program import is_command
from mlcl_plugin.command_table import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = f'{sysconfig.get_path("scripts")}/mlcl'
TRAIN = str(ROOT / 'tools/train.py')
# What multiprocessing starts; it sets sys.argv to that of the parent afterwards.
SPAWNED = ['python', '-c', 'from multiprocessing.spawn import ...', '-fork']
# Slow to import, each for itself.
SLOW = {'torch', 'mmengine', 'mmpretrain', 'mmcv', 'numpy', 'cv2', 'matplotlib', 'yaml'}


@pytest.mark.parametrize(
    ('argv', 'orig_argv', 'expected'),
    [
        ([SCRIPT, 'train'], ['python', SCRIPT, 'train'], True),
        ([f'{SCRIPT}.exe'], ['python.exe', f'{SCRIPT}.exe'], True),
        (['-m', 'train'], ['python', '-u', '-m', 'mlcl_plugin', 'train'], True),
        ([TRAIN, 'x.py'], ['python', TRAIN, 'x.py'], True),
        # Their processes.
        ([SCRIPT, 'train'], SPAWNED, False),
        ([TRAIN, 'x.py'], SPAWNED, False),
        # Others.
        (['/home/me/mlcl.py'], ['python', '/home/me/mlcl.py'], False),
        (['/home/me/mlcl'], ['python', '/home/me/mlcl'], False),
        (['/home/me/tools/train.py'], ['python', '/home/me/tools/train.py'], False),
        ([f'{ROOT}/tools/mine.py'], ['python', f'{ROOT}/tools/mine.py'], False),
        (['-m'], ['python', '-m', 'mlcl_plugin.datasets'], False),
        (['-m', 'mlcl_plugin'], ['python', '-m', 'pytest', 'mlcl_plugin'], False),
        (['-c'], ['python', '-c', 'import mlcl_plugin'], False),
        ([''], ['python'], False),
        ([], [], False),
    ],
)
def test_is_command(argv, orig_argv, expected):
    assert is_command(argv, orig_argv) is expected


def test_relative_paths_and_links(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert is_command(['tools/train.py'], ['python', 'tools/train.py'])
    (tmp_path / 'mlcl').symlink_to(SCRIPT)
    link = str(tmp_path / 'mlcl')
    assert is_command([link], ['python', link])


def run(*words, cwd, **kwargs):
    """Run Python without site-packages, where registration fails at once."""
    return subprocess.run(
        [sys.executable, '-S', *map(str, words)],
        cwd=cwd,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        **kwargs,
    )


@pytest.mark.parametrize('name', COMMANDS)
def test_help_imports_nothing_slow(name, tmp_path):
    done = run('-X', 'importtime', '-m', 'mlcl_plugin', name, '--help', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith(f'usage: mlcl {name}')
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert {'argparse', 'mlcl_plugin.commands.console'} <= imported
    assert not {module.partition('.')[0] for module in imported} & SLOW


@pytest.mark.parametrize('tool', [c.tool for c in COMMANDS.values() if c.tool])
def test_help_of_tools(tool, tmp_path):
    done = run(ROOT / 'tools' / tool, '--help', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith(f'usage: {Path(tool).name}')


def test_overview_imports_little(tmp_path):
    done = run('-X', 'importtime', '-m', 'mlcl_plugin', '--help', cwd=tmp_path)
    assert done.returncode == 0
    assert 'mlcl_plugin.commands.train' not in done.stderr


def test_without_the_stack(tmp_path):
    """One line from a command, and an examination that says what is missing."""
    done = run('-m', 'mlcl_plugin', 'evaluate', 'a.csv', cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert done.stderr.startswith('mlcl evaluate: mlcl_plugin needs torch')
    done = run('-m', 'mlcl_plugin', 'doctor', cwd=tmp_path)
    assert done.returncode == 1 and not done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith('packages') and 'BROKEN: mlcl_plugin needs torch' in last


@pytest.mark.parametrize('name', ['mlcl.py', 'mlcl', 'train.py'])
def test_scripts_of_users_register(name, tmp_path):
    (tmp_path / name).write_text('import mlcl_plugin')
    done = run(name, cwd=tmp_path)
    assert done.stderr.splitlines()[-1].startswith('ImportError: mlcl_plugin needs ')


@pytest.mark.slow
@pytest.mark.parametrize('words', [['-m', 'mlcl_plugin', 'train'], [TRAIN]])
def test_spawned_workers_register(words, write_config, tmp_path):
    """They read images through transforms of this package."""
    spawn = dict(num_workers=1, multiprocessing_context='spawn')
    config = write_config(
        # RecordHook is a part of the tests.
        {'custom_hooks': [], 'train_dataloader': spawn}
    )
    done = subprocess.run(
        [sys.executable, *words, str(config), '--work-dir', str(tmp_path / 'work')],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / 'work/step2/epoch_2.pth').is_file()
    for noise in ('FileClient', 'OneDL', 'MultiScaleDeformableAttention'):
        assert noise not in done.stdout + done.stderr
