# SPDX-License-Identifier: Apache-2.0
import codecs

import pytest

from mlcl_plugin.datasets.annotation_files import read_classes
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.names_file import read_names


@pytest.mark.parametrize(
    'content',
    [
        b'red\ngreen light\n',
        codecs.BOM_UTF8 + b'red\r\ngreen light\r\n',
        b'red\n\n  \ngreen light',
    ],
)
def test_one_reader_of_names(tmp_path, content):
    """As Notepad of Windows saves them, too. All tools read names by it."""
    path = tmp_path / 'names.txt'
    path.write_bytes(content)
    assert read_names(path) == read_classes(path) == ['red', 'green light']
    dump = ScoreDump([[0.1, 0.2]], [[0, 1]], ['red', 'green light'], ['a.jpg'])
    dump.save(tmp_path / 'dump.csv')
    assert ScoreDump.load(tmp_path / 'dump.csv', path).classes == dump.classes


def test_faults(tmp_path):
    path = tmp_path / 'names.txt'
    with pytest.raises(FileNotFoundError, match="no file '.*names.txt' with one class"):
        read_names(path)
    with pytest.raises(ValueError, match='is a folder, expected a file'):
        read_names(tmp_path)
    path.write_bytes('cat\n'.encode('utf-16'))
    with pytest.raises(ValueError, match='names.txt is not UTF-8.*Save it in UTF-8'):
        read_names(path)
    path.write_text('\n \n')
    with pytest.raises(ValueError, match='names.txt is empty'):
        read_names(path)
