# SPDX-License-Identifier: Apache-2.0
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from mlcl_plugin.engine import environment


def test_processor(monkeypatch):
    """As Linux lists it, with single spaces; elsewhere as Python names it."""
    text = 'processor : 0\nmodel name\t: Some  CPU 7\nflags : sse avx512_bf16\n\n'
    monkeypatch.setattr(Path, 'read_text', lambda self: text)
    assert environment.describe_processor() == ('Some CPU 7', ['sse', 'avx512_bf16'])
    monkeypatch.setattr(Path, 'read_text', lambda self: 'Features : fp asimd\n')
    name = platform.processor() or platform.machine()
    assert environment.describe_processor() == (name, [])


def test_cores(monkeypatch):
    assert environment.count_cores() >= 1
    monkeypatch.delattr(environment.os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(environment.os, 'cpu_count', lambda: 3)
    assert environment.count_cores() == 3


def test_versions():
    found = environment.installed_versions(['torch', 'no-such-package'])
    assert list(found) == ['python', 'torch']
    assert found['python'] == platform.python_version()
    assert found['torch'].split('+')[0] == torch.__version__.split('+')[0]


@pytest.fixture
def checkout(tmp_path):
    """A folder with one commit of two files, and that commit."""
    (tmp_path / 'docs').mkdir()
    for name in ('code.py', 'docs/table.md'):
        (tmp_path / name).write_text('a')
    for words in (
        'init --quiet',
        'add --all',
        '-c user.name=n -c user.email=e@x commit --quiet --message text',
    ):
        subprocess.run(['git', *words.split()], cwd=tmp_path, check=True)
    call = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    return tmp_path, call.stdout.strip()


def test_commit(checkout, monkeypatch):
    """Marked where files differ from it, generated ones excepted."""
    folder, commit = checkout
    assert environment.current_commit(folder) == commit
    (folder / 'docs/table.md').write_text('b')
    assert environment.current_commit(folder, ['docs']) == commit
    assert environment.current_commit(folder) == f'{commit}-dirty'
    (folder / 'code.py').write_text('b')
    assert environment.current_commit(folder, ['docs']) == f'{commit}-dirty'

    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(environment.subprocess, 'run', missing)
    assert environment.current_commit(folder) is None
