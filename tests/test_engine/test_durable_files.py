# SPDX-License-Identifier: Apache-2.0
import errno
import os

import pytest

from mlcl_plugin.engine.durable_files import publish, remove_parts, sync, write_text


def test_write_text(tmp_path):
    path = tmp_path / 'file'
    write_text(path, 'old')
    write_text(path, 'new')
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_old_content_stays(tmp_path, monkeypatch, function):
    path = tmp_path / 'file'
    write_text(path, 'old')

    def fail(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match='No space left'):
        write_text(path, 'new')
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file']


def test_order(tmp_path, monkeypatch):
    """The content reaches the disk before its name, and the name before the return."""
    calls = []
    monkeypatch.setattr(os, 'fsync', lambda number: calls.append(os.fstat(number)))
    replace = os.replace
    monkeypatch.setattr(
        os, 'replace', lambda *args: (calls.append('replace'), replace(*args))
    )
    (tmp_path / 'part').write_text('content')
    expected = [os.stat(tmp_path / 'part'), 'replace', os.stat(tmp_path)]
    publish(tmp_path / 'part', tmp_path / 'file')
    assert [getattr(c, 'st_ino', c) for c in calls] == [
        getattr(c, 'st_ino', c) for c in expected
    ]
    assert (tmp_path / 'file').read_text() == 'content'


def test_folder_that_cannot_be_opened(tmp_path, monkeypatch):
    """As on Windows."""

    def fail(*_):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(os, 'open', fail)
    sync(tmp_path)


def test_remove_parts(tmp_path):
    names = ['a.pth', 'a.pth.part', 'b.part', 'last.7.part', 'last']
    for name in names:
        (tmp_path / name).touch()
    remove_parts(tmp_path, '*.pth')
    remove_parts(tmp_path, 'last.*')
    assert sorted(os.listdir(tmp_path)) == ['a.pth', 'b.part', 'last']
