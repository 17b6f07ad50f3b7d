# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.engine.pointers import (
    has_begun,
    has_pointer,
    mark_finished,
    read_pointer,
    remove_pointers,
    write_pointer,
)


@pytest.mark.parametrize(
    'name', ['last_checkpoint', 'finished_checkpoint', 'started_from']
)
def test_has_begun(tmp_path, name):
    assert not has_begun(str(tmp_path / 'step1'))
    (tmp_path / 'epoch_1.pth').touch()
    assert not has_begun(str(tmp_path))
    (tmp_path / name).touch()
    assert has_begun(str(tmp_path))


def test_write_and_read(tmp_path, monkeypatch):
    folder = tmp_path / 'step1'
    assert read_pointer(str(folder), 'started_from') is None
    monkeypatch.chdir(tmp_path)
    for given, expected in [
        ('weights.pth', str(tmp_path / 'weights.pth')),
        ('https://example.org/weights.pth', 'https://example.org/weights.pth'),
    ]:
        write_pointer(str(folder), 'started_from', given)
        assert read_pointer(str(folder), 'started_from') == expected
    # no part is left
    assert [path.name for path in folder.iterdir()] == ['started_from']


def test_read_while_written(tmp_path):
    """A process that has opened the pointer reads the old content to its end."""
    path = tmp_path / 'last_checkpoint'
    path.write_text('/old.pth')
    with path.open() as file:
        write_pointer(str(tmp_path), path.name, '/new.pth')
        assert file.read() == '/old.pth'
    assert path.read_text() == '/new.pth'


def test_moved_folder(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_1.pth')
    assert read_pointer(str(tmp_path), 'last_checkpoint') == '/gone/epoch_1.pth'
    here = tmp_path / 'epoch_1.pth'
    here.touch()
    assert read_pointer(str(tmp_path), 'last_checkpoint') == str(here)
    # a copy: the pointer is right still
    original = tmp_path / 'original' / 'epoch_1.pth'
    original.parent.mkdir()
    original.touch()
    (tmp_path / 'last_checkpoint').write_text(str(original))
    assert read_pointer(str(tmp_path), 'last_checkpoint') == str(original)


def test_empty(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('\n')
    with pytest.raises(ValueError, match='last_checkpoint is empty, expected'):
        read_pointer(str(tmp_path), 'last_checkpoint')


def test_remove(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    folder, names = str(tmp_path), ('last_checkpoint', 'started_from')
    assert not remove_pointers(folder, *names)
    write_pointer(folder, 'last_checkpoint', 'epoch_1.pth')
    write_pointer(folder, 'finished_checkpoint', 'epoch_1.pth')
    assert has_pointer(folder, 'last_checkpoint')
    assert remove_pointers(folder, *names)
    # other pointers and checkpoints stay
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {'epoch_1.pth', 'finished_checkpoint'}


def test_mark_finished(tmp_path):
    """With the path of the last checkpoint, as earlier versions wrote it."""
    mark = tmp_path / 'finished_checkpoint'
    mark_finished(str(tmp_path))
    assert mark.read_text() == ''
    (tmp_path / 'last_checkpoint').write_text('/there/epoch_1.pth')
    mark_finished(str(tmp_path))
    assert mark.read_text() == '/there/epoch_1.pth'
