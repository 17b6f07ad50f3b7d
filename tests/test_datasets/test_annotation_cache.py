# SPDX-License-Identifier: Apache-2.0
import json
import logging
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.logging import MMLogger
from mmpretrain.datasets import MultiLabelDataset

from mlcl_plugin.datasets import annotation_cache
from mlcl_plugin.datasets.annotation_cache import AnnotationCache
from mlcl_plugin.datasets.coco_multi_label import CocoMultiLabel
from mlcl_plugin.datasets.voc_multi_label import VOCMultiLabel

ITEMS = [
    dict(img_path='ein bild.jpg', gt_label=[0, 2], img_id=7),
    dict(img_path='b/"猫".jpg', gt_label=[], img_id='x', gt_label_difficult=None),
]
CLASSES = ('cat', 'dog, "big"', '猫')


class Reader(MultiLabelDataset):
    pass


class OtherReader(Reader):
    pass


def write(path, text, age=60):
    """Write a file that looks as old as files of data are."""
    path.write_text(text)
    then = time.time_ns() - int(age * 1e9)
    os.utime(path, ns=(then, then))
    return str(path)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / 'labels.txt', 'some labels')


@pytest.fixture
def fetch(tmp_path, file):
    """Function that fetches, and tells how often annotation was really read."""

    def fetch(reader=Reader, options=None, files=None, items=ITEMS, folder=None):
        def read():
            fetch.reads += 1
            return items, CLASSES

        cache = AnnotationCache(folder or tmp_path / 'cache')
        return cache.fetch(reader, options or {}, files or [file], read)

    fetch.reads = 0
    return fetch


def kept(tmp_path):
    return sorted((tmp_path / 'cache').iterdir())


@pytest.mark.parametrize('items_per_line', [1, 2, 10_000])
def test_gives_back_what_was_read(fetch, tmp_path, monkeypatch, items_per_line):
    monkeypatch.setattr(annotation_cache, 'ITEMS_PER_LINE', items_per_line)
    for _ in range(3):
        items, classes = fetch()
        assert items == ITEMS and tuple(classes) == CLASSES
    assert fetch.reads == 1
    (path,) = kept(tmp_path)
    assert path.name.startswith('Reader-')
    # plain JSON, line by line
    header, *parts, trailer = map(json.loads, path.read_text().splitlines())
    assert header['classes'] == list(CLASSES) and set(trailer) == {'digest'}
    assert sum(parts, []) == ITEMS


def test_no_item(fetch):
    assert fetch(items=[])[0] == fetch(items=[])[0] == []
    assert fetch.reads == 1


def test_without_folder(file):
    cache = AnnotationCache(None)
    for number in range(2):
        assert cache.fetch(Reader, {}, [file], lambda n=number: n) == number


def test_what_tells_apart(fetch, tmp_path, file):
    """Class, options and paths have files of their own, which do not replace others."""
    other = write(tmp_path / 'other.txt', 'some labels')
    cases = [
        dict(),
        dict(reader=OtherReader),
        dict(options=dict(classes=('a',))),
        dict(options=dict(classes=('a', 'b'))),
        dict(files=[other]),
        dict(files=[file, other]),
    ]
    for case in cases * 2:
        fetch(**case)
    assert fetch.reads == len(cases) == len(kept(tmp_path))


def test_changed_file(fetch, tmp_path, file):
    fetch()
    # of another size, and of the same one at another time
    for age, text in ((60, 'other labels'), (50, 'OTHER LABELS'), (40, 'some')):
        write(Path(file), text, age)
        fetch()
        fetch()
    assert fetch.reads == 4
    assert len(kept(tmp_path)) == 1


def test_fresh_file_is_not_trusted(fetch, tmp_path, file):
    """It could change once more within what a file system counts as one time."""
    for age in (0, 1, -100):
        write(Path(file), 'some labels', age)
        fetch()
    assert fetch.reads == 3 and not (tmp_path / 'cache').exists()


def test_changed_code(fetch, monkeypatch):
    fetch()
    monkeypatch.setattr(annotation_cache, '_code', lambda reader: 'other')
    fetch()
    monkeypatch.undo()
    monkeypatch.setattr(annotation_cache, '__version__', '99.0')
    fetch()
    assert fetch.reads == 3


def test_code_of_a_class(tmp_path, monkeypatch):
    """That of this package, and that of a class from elsewhere."""
    codes = {annotation_cache._code(kind) for kind in (Reader, OtherReader)}
    assert len(codes) == 1
    assert annotation_cache._code(CocoMultiLabel) not in codes
    write(tmp_path / 'own_data.py', 'class Own: pass')
    monkeypatch.syspath_prepend(tmp_path)
    import own_data

    before = annotation_cache._code(own_data.Own)
    annotation_cache._code.cache_clear()
    assert annotation_cache._code(own_data.Own) == before
    write(tmp_path / 'own_data.py', 'class Own: x = 1')
    annotation_cache._code.cache_clear()
    assert annotation_cache._code(own_data.Own) != before


def damage_lines(content):
    lines = content.splitlines(keepends=True)
    yield b''
    yield b'\n'
    yield b'{}\n'
    yield b'\xff\xfe' + content
    yield b'null\n' * 3
    # broken off after, and within every line
    for number in range(len(lines)):
        yield b''.join(lines[:number])
        yield b''.join(lines[:number]) + lines[number][:-5]
    # a line too few, two in another order
    yield b''.join([lines[0], *lines[2:]])
    yield b''.join([lines[0], lines[2], lines[1], *lines[3:]])
    # valid JSON of other content
    yield content.replace(b'"gt_label":[0,2]', b'"gt_label":[0,1]')
    yield content.replace(b'"cat"', b'"dog"')


def test_broken_file_is_made_again(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(annotation_cache, 'ITEMS_PER_LINE', 1)
    fetch()
    (path,) = kept(tmp_path)
    sound = path.read_bytes()
    damages = list(damage_lines(sound))
    assert len(damages) >= 17 and sound not in damages
    for content in damages:
        path.write_bytes(content)
        before = fetch.reads
        assert fetch()[0] == ITEMS
        assert fetch.reads == before + 1, content
        assert path.read_bytes() == sound


def test_missing_file_is_left_to_reading(tmp_path):
    cache = AnnotationCache(tmp_path / 'cache')

    def read():
        raise FileNotFoundError('said by the reader')

    with pytest.raises(FileNotFoundError, match='said by the reader'):
        cache.fetch(Reader, {}, [str(tmp_path / 'nowhere')], read)
    assert not (tmp_path / 'cache').exists()


def test_error_of_reading_keeps_nothing(file, tmp_path):
    def read():
        raise ValueError('malformed')

    with pytest.raises(ValueError, match='malformed'):
        AnnotationCache(tmp_path / 'cache').fetch(Reader, {}, [file], read)
    assert not (tmp_path / 'cache').exists()


def test_folder_that_cannot_be_written(fetch, file, tmp_path):
    """A warning, and the annotation is there all the same."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        assert fetch(folder=f'{file}/cache')[0] == ITEMS
    finally:
        logger.removeHandler(handler)
    (line,) = lines
    assert 'Cannot keep annotation' in line and 'cache_dir' in line


def test_failed_writing_leaves_nothing(fetch, tmp_path, monkeypatch):
    def replace(*args):
        raise OSError('disk full')

    monkeypatch.setattr(annotation_cache.os, 'replace', replace)
    assert fetch()[0] == ITEMS
    assert kept(tmp_path) == []


def test_several_at_once(fetch, tmp_path):
    """Nobody gets a half-written file."""
    items = [dict(img_path=f'{i}.jpg', gt_label=[i % 3]) for i in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fetch, items=items) for _ in range(16)]
    assert all(job.result()[0] == items for job in jobs)
    assert len(kept(tmp_path)) == 1


def test_several_processes(fetch, tmp_path):
    """That remove the file under one another's hands."""
    items = [dict(img_path=f'{i}.jpg', gt_label=[i % 3]) for i in range(1000)]

    def work():
        for _ in range(30):
            assert fetch(items=items)[0] == items
            for path in (tmp_path / 'cache').glob('Reader-*'):
                path.unlink(missing_ok=True)

    context = multiprocessing.get_context('fork')
    started = [context.Process(target=work) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=600)
    assert [process.exitcode for process in started] == [0, 0, 0]
    assert kept(tmp_path) == []


def test_relative_paths(fetch, tmp_path, monkeypatch):
    """The same relative path in another folder is another file."""
    for folder in ('one', 'two'):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / 'labels.txt', 'some labels')
        monkeypatch.chdir(tmp_path / folder)
        fetch(files=['labels.txt'])
    assert fetch.reads == 2


def test_remote_files_go_by_content(fetch):
    class Memory(BaseStorageBackend):
        content = b'one'

        def get(self, filepath):
            return self.content

        def get_text(self, filepath):
            raise NotImplementedError

    register_backend('ram', Memory, prefixes='ram', force=True)
    for content in (b'one', b'one', b'two'):
        Memory.content = content
        fetch(files=['ram://labels.txt'])
    assert fetch.reads == 2


def test_coco(tmp_path, monkeypatch):
    """The same dataset from the cache, until something changes."""
    content = dict(
        images=[dict(id=5, file_name='a.jpg'), dict(id='x', file_name='b.jpg')],
        annotations=[
            dict(id=1, image_id=5, category_id=9, iscrowd=1),
            dict(id=2, image_id=5, category_id=3),
        ],
        categories=[dict(id=9, name='cat'), dict(id=3, name='dog')],
    )
    ann_file = write(tmp_path / 'labels.json', json.dumps(content))
    reads = []
    read = CocoMultiLabel._read
    monkeypatch.setattr(
        CocoMultiLabel, '_read', lambda self: reads.append(1) or read(self)
    )

    def build(**options):
        dataset = CocoMultiLabel(
            ann_file,
            data_prefix='images',
            cache_dir=str(tmp_path / 'cache'),
            # serialization ends with a garbage collection, which takes its time
            serialize_data=False,
            **options,
        )
        items = [dataset.get_data_info(i) for i in range(len(dataset))]
        return dataset.metainfo['classes'], items

    variants = [
        dict(),
        dict(with_crowd=False),
        dict(keep_unlabelled=True),
        dict(classes=['cat']),
    ]
    first = [build(**options) for options in variants]
    assert len(reads) == len(variants) and first[0][0] == ('dog', 'cat')
    assert first[2][1][1]['img_id'] == 'x' and len(first[0][1]) == 1
    assert [build(**options) for options in variants] == first
    assert len(reads) == len(variants)
    content['annotations'].pop()
    write(tmp_path / 'labels.json', json.dumps(content), age=30)
    assert build()[1][0]['gt_label'] == [1] and len(reads) == len(variants) + 1


def test_voc(tmp_path, monkeypatch):
    """One changed annotation file of many is enough."""
    for folder in ('Annotations', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)

    def annotate(img_id, name, age):
        text = f'<annotation><object><name>{name}</name></object></annotation>'
        write(tmp_path / f'Annotations/{img_id}.xml', text, age)

    write(tmp_path / 'ImageSets/Main/train.txt', '1\n2\n')
    annotate(1, 'dog', 60)
    annotate(2, 'cat', 60)
    reads = []
    read = VOCMultiLabel._read
    monkeypatch.setattr(
        VOCMultiLabel, '_read', lambda self, ids: reads.append(1) or read(self, ids)
    )

    def build():
        dataset = VOCMultiLabel(
            str(tmp_path),
            split='train',
            cache_dir=str(tmp_path / 'cache'),
            serialize_data=False,
        )
        names = dataset.metainfo['classes']
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        return [[names[label] for label in info['gt_label']] for info in infos]

    assert build() == build() == [['dog'], ['cat']]
    annotate(2, 'cow', 50)
    assert build() == build() == [['dog'], ['cow']]
    assert len(reads) == 2
