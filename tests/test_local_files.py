# SPDX-License-Identifier: Apache-2.0
import os
import socket
import unicodedata
from pathlib import Path

import pytest

from mlcl_plugin.converters.mulcon_label_order import read_json
from mlcl_plugin.converters.mulcon_weights import load_file
from mlcl_plugin.datasets import FeatureVectors, VOCMultiLabel
from mlcl_plugin.datasets.annotation_files import read_annotation_file
from mlcl_plugin.datasets.forms import read_labels
from mlcl_plugin.datasets.table import open_table
from mlcl_plugin.datasets.transforms import LoadFeatureMap
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.inference.config import load_model_config
from mlcl_plugin.inference.result_lines import ResultFile
from mlcl_plugin.local_files import check_regular, describe_namesake, to_path
from mlcl_plugin.names_file import read_names


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('a/b.jpg', 'a/b.jpg'),
        ('/a%20b.jpg', '/a%20b.jpg'),
        ('file:///a/b%20c%C3%A9.jpg', '/a/b cé.jpg'),
        ('FILE://localhost/a.jpg', '/a.jpg'),
        ('file:///a#1?.jpg', '/a#1?.jpg'),
        ('http://host/a.jpg', 'http://host/a.jpg'),
        ('https://host/a.jpg', 'https://host/a.jpg'),
        # The package that reads them need not be installed.
        ('s3://bucket/a.jpg', 's3://bucket/a.jpg'),
        ('cluster:s3://bucket/a.jpg', 'cluster:s3://bucket/a.jpg'),
    ],
)
def test_to_path(path, expected):
    assert to_path(path) == expected


def test_urls_that_nothing_reads():
    with pytest.raises(
        ValueError, match="begins with 'ftp', which .* Expected a local"
    ):
        to_path('ftp://host/a.jpg')
    with pytest.raises(ValueError, match="has '://' more than once"):
        to_path('http://host/?of=http://other/a.jpg')
    with pytest.raises(ValueError, match="the machine 'host', not this"):
        to_path('file://host/a.jpg')


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='the system has no pipes')
@pytest.mark.parametrize(
    ('name', 'read'),
    [
        ('x.csv', ScoreDump.load),
        ('x.pkl', ScoreDump.load),
        ('x.parquet', ScoreDump.load),
        ('x.json', Decisions.load),
        ('x.txt', read_names),
        ('x.json', lambda path: read_annotation_file(path, 'file', 'ann_file', '')),
        ('x.csv', lambda path: open_table(path).__enter__()),
        ('x.parquet', lambda path: open_table(path).__enter__()),
        ('x.parquet', read_labels),
        ('x.csv', read_labels),
        ('x.json', read_labels),
        ('x.npz', lambda path: FeatureVectors(path, 'train')),
        ('x.npy', LoadFeatureMap),
        ('x.jsonl', lambda path: ResultFile(path, resume=True)),
        ('x.py', load_model_config),
        ('x.json', read_json),
        ('x.pth', lambda path: load_file(Path(path))),
    ],
)
def test_pipes_are_not_read(name, read, tmp_path):
    """Reading one would never end."""
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(ValueError, match=rf'{name}.* a named pipe'):
        read(str(path))


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='the system has no pipes')
@pytest.mark.parametrize('cached', [False, True])
@pytest.mark.parametrize('name', ['ImageSets/Main/train.txt', 'Annotations/1.xml'])
def test_pipes_in_a_folder_of_voc(name, cached, tmp_path):
    for folder in ('ImageSets/Main', 'Annotations', 'JPEGImages'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/train.txt').write_text('1\n')
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    # An old file is one that a cache may keep.
    os.utime(tmp_path / name, (0, 0))
    with pytest.raises(ValueError, match=rf'{name}.* a named pipe'):
        VOCMultiLabel(
            data_root=str(tmp_path),
            split='train',
            cache_dir=str(tmp_path / 'cache') if cached else None,
        )


def test_regular(tmp_path):
    (tmp_path / 'a').touch()
    for path in ('a', '', 'missing', 'a/b'):
        check_regular(str(tmp_path / path))
    check_regular('zero\0byte')
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ValueError, match="pipe' is a named pipe, expected a file"):
        check_regular(str(tmp_path / 'pipe'))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 'socket'))
        with pytest.raises(ValueError, match='is a socket'):
            check_regular(str(tmp_path / 'socket'))
    with pytest.raises(ValueError, match="'/dev/zero' is a device"):
        check_regular('/dev/zero')


@pytest.mark.parametrize(
    ('there', 'wanted', 'difference'),
    [
        ('sub/g.jpg', 'sub\\g.jpg', r'with / instead of \.'),
        ('sub/g.jpg', 'sub\\G.jpg', r'with / instead of \, in other capital letters.'),
        ('e.jpg', 'e.jpg ', 'without blanks.'),
        (' e.jpg', 'e.jpg', 'with a blank.'),
        ('E.JPG', 'e.jpg', 'in other capital letters.'),
        ('Sub/e.jpg', 'sub/e.jpg', 'in other capital letters.'),
        ('e.jpeg', 'e.jpg', 'with another ending.'),
        ('café.webp', 'café.webp', 'another form of Unicode.'),
        ('Sub/a b/e.png', 'sub/a b /e.jpg', None),
    ],
)
def test_namesake(tmp_path, there, wanted, difference):
    # both forms are written in one here
    there = unicodedata.normalize('NFD', there)
    wanted = unicodedata.normalize('NFC', wanted)
    path = tmp_path / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    text = describe_namesake(os.path.join(tmp_path, wanted))
    if difference is None:
        difference = 'in other capital letters, without blanks, with another ending.'
    show = ascii if 'Unicode' in difference else repr
    assert text == f' There is {show(str(path))}: {difference}'


def test_no_namesake(tmp_path, monkeypatch):
    (tmp_path / 'a.jpg').touch()
    for path in ('b.jpg', 'sub/a.jpg', 'a.jpg/b', '', 'x' * 5000, 'a\0.jpg'):
        assert describe_namesake(os.path.join(tmp_path, path)) == ''
    assert describe_namesake('http://host/A.jpg') == ''
    monkeypatch.chdir(tmp_path)
    assert describe_namesake('A.jpg').startswith(" There is 'a.jpg': in other capital")
