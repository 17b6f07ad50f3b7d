# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets import HideLabels, LabelsToTargets
from mlcl_plugin.datasets.name_cells import (
    question_list,
    question_name,
    split_names,
)
from mlcl_plugin.datasets.tabular_multi_label import TabularMultiLabel, find_label_names
from mlcl_plugin.engine import set_default_dataloader_cfg
from mlcl_plugin.models.utils import collect_targets

ROOT = Path(__file__).parents[2]
WIDE = 'image,cat,dog,"traffic, ""light"""\na.jpg,1,0,0\n"b, c.jpg",0,1,\nd.jpg,,,1\n'
CLASSES = ('cat', 'dog', 'traffic, "light"')
TARGETS = [[1, 0, 0], [0, 1, -1], [-1, -1, 1]]
NAMES = 'image,labels\na.jpg,cat\nb.jpg,dog; traffic light;\nc.jpg,\n'
NAMED = ('traffic light', 'dog', 'cat')


def build(path, text=None, **kwargs):
    if text is not None:
        path.write_text(text, encoding='utf-8', newline='')
    # serialization ends with a garbage collection, which takes its time
    kwargs = dict(ann_file=str(path), serialize_data=False) | kwargs
    return DATASETS.build(dict(type='TabularMultiLabel', **kwargs))


def read(dataset):
    """Paths and targets, checked for what every item has."""
    paths, targets = [], []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert set(info) == {'img_path', 'gt_label', 'gt_score', 'sample_idx'}
        assert info['gt_score'].dtype == np.int8
        assert info['gt_label'] == np.flatnonzero(info['gt_score'] == 1).tolist()
        paths.append(info['img_path'])
        targets.append(info['gt_score'].tolist())
    return paths, targets


@pytest.fixture
def table(tmp_path):
    return tmp_path / 'labels.csv'


def test_one_column_a_label(table):
    dataset = build(table, WIDE, data_prefix='images')
    assert isinstance(dataset, TabularMultiLabel)
    assert dataset.metainfo['classes'] == CLASSES
    paths = ['images/a.jpg', 'images/b, c.jpg', 'images/d.jpg']
    assert read(dataset) == (paths, TARGETS)
    assert dataset.get_cat_ids(1) == [1]
    assert f'Annotation file: \t{table}' in repr(dataset)


def test_one_column_of_names(table):
    dataset = build(table, NAMES, classes=NAMED)
    assert dataset.metainfo['classes'] == NAMED
    assert read(dataset)[1] == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_unstated_labels(table):
    assert read(build(table, WIDE, unstated_as=-1))[1] == TARGETS
    assert read(build(table, WIDE, unstated_as=0))[1] == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]
    assert read(build(table, NAMES, classes=NAMED, unstated_as=-1))[1] == [
        [-1, -1, 1],
        [1, 1, -1],
        [-1, -1, -1],
    ]


def test_some_columns(table):
    """In the order of the classes, whatever the others hold."""
    text = WIDE.replace('dog', 'note').replace('0,1,', '0,see "b",')
    text = text.replace('"b"', "'b'")
    dataset = build(table, text, classes=[CLASSES[2], 'cat'])
    assert dataset.metainfo['classes'] == (CLASSES[2], 'cat')
    assert read(dataset)[1] == [[0, 1], [-1, 0], [1, -1]]


@pytest.mark.parametrize(
    ('name', 'options'),
    [('t.tsv', {}), ('t.csv', dict(delimiter='\t')), ('t.txt', dict(delimiter='\t'))],
)
def test_tabulators(tmp_path, name, options):
    dataset = build(tmp_path / name, 'image\ta, b\n1.jpg\t1\n2.jpg\t\n', **options)
    assert dataset.metainfo['classes'] == ('a, b',)
    assert read(dataset) == (['1.jpg', '2.jpg'], [[1], [-1]])


def test_ways_to_write_numbers(table):
    """As pandas and spreadsheets do."""
    text = '\ufeffimage,a,b\r\n1.jpg,1.0, 0 \r\n2.jpg, 1,0.0\r\n\r\n3.jpg,,  \r\n\r\n'
    assert read(build(table, text))[1] == [[1, 0], [1, 0], [-1, -1]]


def test_splits(table):
    text = 'image,labels,split\n1.jpg,a,train\n2.jpg,b,val\n3.jpg,,train\n'
    options = dict(classes=['a', 'b'])
    assert len(build(table, text, **options)) == 3
    train = build(table, split='train', **options)
    assert read(train) == (['1.jpg', '3.jpg'], [[1, 0], [0, 0]])
    assert 'Split: \ttrain' in repr(train)
    wide = 'part,image,a\nx,1.jpg,1\ny,2.jpg,0\n'
    other = build(table, wide, split='y', split_column='part')
    assert other.metainfo['classes'] == ('a',)
    assert read(other) == (['2.jpg'], [[0]])
    with pytest.raises(
        ValueError, match=r"no image in split 'z', only in \['x', 'y'\]"
    ):
        build(table, split='z', split_column='part')
    with pytest.raises(ValueError, match="no column 'split'.*split_column"):
        build(table, split='x')


def test_a_label_called_labels(table):
    text = 'image,labels,cat\n1.jpg,1,0\n'
    assert read(build(table, text, classes=['labels', 'cat']))[1] == [[1, 0]]


def test_other_columns(table):
    text = 'file,tags\n1.jpg,a|b c\n2.jpg,\n'
    options = dict(image_column='file', label_column='tags', separator='|')
    dataset = build(table, text, classes=['a', 'b c'], **options)
    assert read(dataset) == (['1.jpg', '2.jpg'], [[1, 1], [0, 0]])


def test_names_in_a_table(table, tmp_path):
    table.write_text(NAMES)
    assert find_label_names(str(table)) == ('cat', 'dog', 'traffic light')
    pd.DataFrame(dict(tags=[['b', 'a'], None])).to_parquet(tmp_path / 't.parquet')
    assert find_label_names(str(tmp_path / 't.parquet'), 'tags') == ('a', 'b')
    with pytest.raises(
        ValueError, match=r"no column 'tags', it has \['image', 'labels'"
    ):
        find_label_names(str(table), 'tags')
    pd.DataFrame(dict(labels=[1])).to_parquet(tmp_path / 't.parquet')
    with pytest.raises(
        ValueError, match="row 1, column 'labels' holds 1, expected names"
    ):
        find_label_names(str(tmp_path / 't.parquet'))


@pytest.mark.parametrize(
    'columns',
    [
        dict(a=[1, 0, 1], b=[0, 0, 1]),
        dict(a=[1, 0, None], b=[float('nan'), 0.0, 1.0]),
        dict(a=[True, False, True], b=pd.array([True, None, False], 'boolean')),
        dict(a=['1', '0', None], b=['', '0.0', '1']),
        dict(a=pd.array([1, None, 0], 'Int8'), b=np.array([0, 1, 1], np.uint8)),
        dict(a=pd.Categorical(['1', '0', '1']), b=[1.0, 0.0, 1.0]),
    ],
)
def test_parquet(tmp_path, columns):
    """Targets of any type of column, and those that pandas writes for itself."""
    frame = pd.DataFrame(dict(image=['x.jpg', 'ä.jpg', 'z.jpg'], **columns))
    frame.index = [7, 8, 9]
    frame.to_parquet(tmp_path / 't.parquet')
    dataset = build(tmp_path / 't.parquet')
    assert dataset.metainfo['classes'] == ('a', 'b')

    def target(value):
        return -1 if pd.isna(value) or value == '' else int(float(value))

    expected = [[target(a), target(b)] for a, b in zip(frame.a, frame.b)]
    assert read(dataset) == (['x.jpg', 'ä.jpg', 'z.jpg'], expected)


def test_parquet_with_names(tmp_path):
    frame = pd.DataFrame(
        dict(image=['1.jpg', '2.jpg', '3.jpg'], labels=[['a', ' b'], [], None])
    )
    frame.to_parquet(tmp_path / 't.pq')
    dataset = build(tmp_path / 't.pq', classes=['a', 'b'])
    assert read(dataset)[1] == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize('kind', ['csv', 'parquet'])
def test_many_rows(tmp_path, kind):
    """More than a batch of Parquet, in order."""
    rng = np.random.default_rng(0)
    targets = rng.integers(-1, 2, (3000, 5))
    frame = pd.DataFrame(targets, columns=list('abcde')).replace(-1, None)
    frame.insert(2, 'image', [f'{i}.jpg' for i in range(3000)])
    path = tmp_path / f't.{kind}'
    frame.to_csv(path, index=False) if kind == 'csv' else frame.to_parquet(path)
    paths, found = read(build(path))
    assert found == targets.tolist() and paths == frame.image.tolist()


# Anything that text files and file names can hold.
words = st.text(
    st.characters(codec='utf-8', exclude_characters='\0\r', exclude_categories=['Cs']),
    min_size=1,
    max_size=12,
)


@st.composite
def tables(draw, labels=words):
    classes = draw(st.lists(labels, min_size=1, max_size=9, unique=True))
    # A path with :// is a URL.
    names = words.filter(lambda name: '://' not in f'{name}.jpg')
    images = draw(st.lists(names, min_size=1, max_size=9, unique=True))
    images = [f'{image}.jpg' for image in images]
    row = st.lists(
        st.sampled_from([1, 0, -1]), min_size=len(classes), max_size=len(classes)
    )
    targets = [draw(row) for _ in images]
    return classes, images, targets


@settings(deadline=None, max_examples=40)
@given(
    table=tables(labels=words.filter(lambda name: name not in ('image', 'labels'))),
    suffix=st.sampled_from(['csv', 'tsv', 'parquet']),
    cache=st.booleans(),
)
def test_round_trip_of_columns(tmp_path_factory, table, suffix, cache):
    """What pandas writes is what is read, odd names and all."""
    classes, images, targets = table
    frame = pd.DataFrame(targets, columns=classes).replace(-1, float('nan'))
    frame.insert(0, 'image', images)
    root = tmp_path_factory.mktemp('table')
    path = root / f't.{suffix}'
    if suffix == 'parquet':
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep=dict(csv=',', tsv='\t')[suffix])
    options = {}
    if cache:
        os.utime(path, (1e9, 1e9))
        options = dict(cache_dir=str(root / 'cache'))
    for _ in range(1 + cache):
        options |= dict(data_prefix='x', allow_outside=True)
        dataset = build(path, classes=None, **options)
        assert dataset.metainfo['classes'] == tuple(classes)
        found, scores = read(dataset)
        # an absolute path stays what it is
        assert [name.removeprefix('x/') for name in found] == images
        assert scores == targets


@settings(deadline=None, max_examples=40)
@given(
    table=tables(
        # A label of the column's name means a column of its own.
        labels=words.map(str.strip).filter(
            lambda n: n and ';' not in n and n != 'labels'
        )
    ),
    suffix=st.sampled_from(['csv', 'tsv', 'parquet']),
)
def test_round_trip_of_names(tmp_path_factory, table, suffix):
    classes, images, targets = table
    cells = [
        ';'.join(name for name, value in zip(classes, row) if value == 1)
        for row in targets
    ]
    frame = pd.DataFrame(dict(labels=cells, image=images))
    path = tmp_path_factory.mktemp('table') / f't.{suffix}'
    if suffix == 'parquet':
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep=dict(csv=',', tsv='\t')[suffix])
    found, scores = read(build(path, classes=classes))
    assert found == images
    assert scores == [[int(value == 1) for value in row] for row in targets]
    names = {name for cell in cells for name in split_names(cell, ';')}
    if any(map(question_list, cells)) or any(
        question_name(name, ';', names) for name in names
    ):
        # Such as 'a,b', which may be two.
        with pytest.raises(ValueError, match='give the names of all labels'):
            find_label_names(str(path))
    else:
        assert set(find_label_names(str(path))) == names


@pytest.mark.parametrize('unknown', [0.01, 0.99])
def test_thousands_of_labels(tmp_path, unknown):
    """Little is kept of an image, whatever most of its labels are."""
    rng = np.random.default_rng(0)
    targets = (rng.random((9, 3000)) < 0.001).astype(int)
    targets[rng.random(targets.shape) < unknown] = -1
    rows = [['image', *(f'label {i}' for i in range(3000))]]
    for number, row in enumerate(np.where(targets == -1, '', targets.astype(str))):
        rows.append([f'{number}.jpg', *row])
    (tmp_path / 't.csv').write_text('\n'.join(map(','.join, rows)))
    dataset = build(tmp_path / 't.csv', serialize_data=True)
    assert read(dataset)[1] == targets.tolist()
    assert len(dataset.data_bytes) < 9 * 300


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', "no column 'image', it has \\[\\]"),
        ('image;a\n1.jpg;1\n', r"no column 'image', it has \['image;a'\].*delimiter"),
        ('path,a\n1.jpg,1\n', 'image_column'),
        ('image,a\n', 'has no image below its header'),
        ('image\n1.jpg\n', 'no column of labels'),
        ('image,a,b,a\n1.jpg,1,0,1\n', r"columns \['a'\] more than once"),
        ('image,a,image\n1.jpg,1,2.jpg\n', r"columns \['image'\] more than once"),
        (',image,a\n0,1.jpg,1\n', 'column 1 has no name.*without its index'),
        ('image,a,b\n1.jpg,1,0\n2.jpg,1\n', 'row 3 has 2 fields, expected 3'),
        ('image,a\n1.jpg,1,0\n', 'row 2 has 3 fields, expected 2'),
        ('image,a\n1.jpg,1\n\n1.jpg,1\n', "row 4, column 'image' .*'1.jpg', as row 2"),
        ('image,a\n,1\n', "row 2, column 'image' holds '', expected the path"),
        ('image,a,b\n1.jpg,1,2\n', "row 2, column 'b' holds '2', expected 1"),
        (
            'image,a,b\n1.jpg,1,0\n2.jpg,-1,0\n',
            "row 3, column 'a' holds '-1'",
        ),
        ('image,a\n1.jpg,yes\n', "holds 'yes', expected 1 .* 0 .*nothing"),
        ('image,a\n1.jpg,0.5\n', "holds '0.5'"),
        ('image,a\n1.jpg,10\n', "holds '10'"),
        ('image,a\n1.jpg,1.01\n', "holds '1.01'"),
        ('image,a\n1.jpg,-1.0\n', "holds '-1.0', .* write 0, or nothing"),
        ('image,a\n1.jpg,"1\n', 'row 2.*quote'),
        ('image,"a"b\n1.jpg,1\n', 'row 1.*quote'),
    ],
)
def test_malformed_text(table, text, message):
    with pytest.raises(ValueError, match=f'labels.csv.*{message}'):
        build(table, text)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(), "column of names, 'labels', which needs classes.*find_label_names"),
        (
            dict(classes=['cat', 'dog']),
            r"row 3, .*'labels' names 'traffic light'.*skip",
        ),
        (dict(classes=['cat', 'a;b']), "'a;b', which a list of names"),
        (dict(classes=['cat', ' b']), "' b', which a list of names"),
        (dict(classes=['cat', 'cat']), "'cat' more than once"),
        (dict(classes=[]), "'classes' is empty"),
        (dict(classes=NAMED, label_column='tags'), "no column 'tags'.*label_column"),
        (dict(classes=NAMED, image_column='file'), "no column 'file'.*image_column"),
        (dict(unstated_as=1), 'unstated_as must be -1 .* or 0'),
        (dict(unknown_names='ignore'), "'error' or 'skip', got 'ignore'"),
        (dict(separator=''), 'separator must be a string'),
        (dict(delimiter=',,'), 'delimiter must be one character'),
        (dict(data_prefix=dict(img='x')), 'expected .img_path'),
    ],
)
def test_bad_options(table, options, message):
    with pytest.raises(ValueError, match=message):
        build(table, NAMES, **options)


def test_unknown_names_left_out(table):
    dataset = build(table, NAMES, classes=['cat', 'dog'], unknown_names='skip')
    assert read(dataset)[1] == [[1, 0], [0, 1], [0, 0]]


def test_classes_that_are_no_columns(table):
    with pytest.raises(
        ValueError, match=r"no column of labels \['cow'\], it has .*'cat'"
    ):
        build(table, WIDE, classes=['cat', 'cow'])
    with pytest.raises(ValueError, match=r"no column of labels \['image'\]"):
        build(table, WIDE, classes=['cat', 'image'])


def test_malformed_parquet(tmp_path):
    path = tmp_path / 't.parquet'
    frame = pd.DataFrame(dict(image=['1.jpg', '2.jpg'], a=[1, 3]))
    frame.to_parquet(path)
    with pytest.raises(ValueError, match="t.parquet, row 2, column 'a' holds 3"):
        build(path)
    content = path.read_bytes()
    for broken in (b'', b'image,a\n', content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match='t.parquet is no Parquet file'):
            build(path)
    pd.DataFrame(dict(image=[1], a=[1])).to_parquet(path)
    with pytest.raises(ValueError, match="row 1, column 'image' holds 1, expected"):
        build(path)
    pd.DataFrame(dict(image=['1.jpg'], labels=[3])).to_parquet(path)
    with pytest.raises(
        ValueError, match="row 1, column 'labels' holds 3, expected names"
    ):
        build(path, classes=['a'])


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match='no table .*a.csv.*data_root'):
        build(tmp_path / 'a.csv')
    with pytest.raises(FileNotFoundError, match='no table .*a.parquet'):
        build(tmp_path / 'a.parquet')
    (tmp_path / 'b.csv').mkdir()
    with pytest.raises(ValueError, match='b.csv is a folder'):
        build(tmp_path / 'b.csv')
    with pytest.raises(ValueError, match=r"'.csv', '.tsv', .*labels.xlsx.*delimiter"):
        build(tmp_path / 'labels.xlsx')
    (tmp_path / 'c.csv').write_bytes('image,a\nä.jpg,1\n'.encode('utf-16'))
    with pytest.raises(ValueError, match='c.csv is not UTF-8'):
        build(tmp_path / 'c.csv')


def test_cache(table, tmp_path):
    options = dict(cache_dir=str(tmp_path / 'cache'))
    table.write_text(WIDE)
    os.utime(table, (1e9, 1e9))
    first = read(build(table, **options))
    for path in (tmp_path / 'cache').iterdir():
        written = path.stat().st_mtime_ns
    assert read(build(table, **options)) == first
    assert path.stat().st_mtime_ns == written
    # another reading of the same file, and another file
    assert read(build(table, unstated_as=0, **options)) != first
    table.write_text(WIDE.replace('1,0,0', '0,1,0'))
    os.utime(table, (time.time() - 9,) * 2)
    assert read(build(table, **options))[1][0] == [0, 1, 0]


def test_goes_with_the_package(table):
    """Unknown labels stay unknown to what reads targets here."""
    dataset = build(table, WIDE, pipeline=[LabelsToTargets(num_classes=3)])
    assert [dataset[i]['gt_score'].tolist() for i in range(3)] == TARGETS
    hidden = HideLabels(dataset, mode='single_positive')
    found = [hidden.get_data_info(i)['gt_score'].tolist() for i in range(3)]
    assert found == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert read(dataset.get_subset([2, 0]))[1] == [TARGETS[2], TARGETS[0]]
    plain = build(table, WIDE, serialize_data=True, lazy_init=True)
    assert read(plain)[1] == read(plain)[1] == TARGETS


@pytest.mark.parametrize('pipeline', ['train_pipeline', 'two_view_pipeline'])
def test_in_a_dataloader(tmp_path, pipeline):
    """With the config's pipelines, as the runner builds it."""
    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for name in ('a.jpg', 'b, c.jpg', 'd.jpg'):
        img = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / name), img)
    (tmp_path / 'labels_train.csv').write_text(WIDE)
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/tabular_mlcl_224.py')
    loader = cfg.train_dataloader
    loader.update(batch_size=3, num_workers=1)
    loader.sampler.shuffle = False
    loader.dataset.update(data_root=str(tmp_path), pipeline=cfg[pipeline])
    set_default_dataloader_cfg(cfg)
    (batch,) = Runner.build_dataloader(cfg.train_dataloader)
    views = batch['inputs'] if pipeline == 'two_view_pipeline' else [batch['inputs']]
    assert [tuple(view.shape) for view in views] == [(3, 3, 224, 224)] * len(views)
    assert collect_targets(batch['data_samples'], 3).tolist() == TARGETS


@pytest.mark.parametrize(
    ('cells', 'targets'),
    [
        (('True', 'False', 'NaN'), [1, 0, -1]),
        (('TRUE', 'FALSE', ''), [1, 0, -1]),
        (('true', ' false ', 'None'), [1, 0, -1]),
        (('1.00', '0.000', 'null'), [1, 0, -1]),
        (('1.', '00', '<NA>'), [1, 0, -1]),
    ],
)
def test_other_spellings_of_values(table, cells, targets):
    """What pandas, Excel and databases write; Parquet files hold the same values."""
    dataset = build(table, f'image,a,b,c\n1.jpg,{",".join(cells)}\n')
    assert read(dataset)[1] == [targets]
    dataset = build(table, unstated_as=0)
    assert read(dataset)[1] == [[1, 0, 0]]


LIST = 'looks like a list of Python or JSON'


@pytest.mark.parametrize(
    ('cells', 'message'),
    [
        (['"cat,dog"', 'cat'], "names 'cat,dog', which .* set separator=','"),
        (['cat|dog'], r"names 'cat\|dog', which .* set separator='\|'"),
        (['dog#cat', 'dog'], "set separator='#'"),
        (['cat\tdog'], r"set separator='\\t'"),
        # common inside names: questioned only if all parts are names of their own
        (['cat/dog', 'cat', 'dog'], "names 'cat/dog', .*separator='/'"),
        (['cat dog', 'cat;dog'], "names 'cat dog', .*separator=' '"),
        (["\"['cat', 'dog']\""], f'row 2, .*{LIST}'),
        (['"[""cat""]"'], LIST),
        (["{'cat'}"], LIST),
        (["\"('cat', 'dog')\""], LIST),
        (["['cat' 'dog']"], LIST),
        (['[]'], LIST),
        (['cat', 'None'], 'row 3, .*for nothing: leave the cell empty'),
        (['nan'], 'for nothing'),
        (["'cat';'dog'"], 'quotes around it'),
    ],
)
def test_names_separated_in_another_way(table, cells, message):
    """Each would be a label of its own: 'cat,dog' beside 'cat'."""
    rows = ''.join(f'{i}.jpg,{cell}\n' for i, cell in enumerate(cells))
    table.write_text(f'image,labels\n{rows}')
    with pytest.raises(ValueError, match=f'labels.csv, .*{message}.*all labels'):
        find_label_names(str(table))
    # Neither a class nor, left out, a class that is absent without a word.
    with pytest.raises(ValueError, match='labels.csv, row'):
        build(table, classes=['cat', 'dog'])


@pytest.mark.parametrize('cell', ['cat|dog', "\"['cat', 'dog']\"", '"cat,owl"'])
def test_names_that_would_be_left_out_with_classes_in_them(table, cell):
    text = f'image,labels\n0.jpg,{cell}\n1.jpg,owl\n'
    with pytest.raises(ValueError, match='row 2.* separator=|row 2.*Python or JSON'):
        build(table, text, classes=['cat', 'dog'], unknown_names='skip')


def test_names_that_look_like_several(table):
    """Names in ``classes`` are what they are."""
    classes = ['cat,dog', 'None', '[x]', 'cat', 'C#', 'living room', 'room']
    text = 'image,labels\n0.jpg,"cat,dog;C#;[x]"\n1.jpg,None;living room\n'
    scores = read(build(table, text, classes=classes))[1]
    assert scores == [[1, 0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1, 0]]
    table.write_text('image,labels\n0.jpg,C#;living room;rock & roll\n1.jpg,room\n')
    found = find_label_names(str(table))
    assert found == ('C#', 'living room', 'rock & roll', 'room')


def test_split_with_blanks_or_in_other_letters(table):
    text = 'image,a,split\n1.jpg,1,train\n2.jpg,0,train \n3.jpg,1, val\n'
    options = dict(classes=['a'], split='train')
    assert read(build(table, text, **options))[0] == ['1.jpg', '2.jpg']
    message = "row 5, column 'split' holds 'Train', .*set split='Train'"
    with pytest.raises(ValueError, match=message):
        build(table, text + '4.jpg,1,Train\n', **options)
    # of no concern to another split
    assert len(build(table, split='val', classes=['a'])) == 1


def test_ten_thousand_columns(table):
    """Reading the header takes no time that grows with its square."""
    names = [f'label {i}' for i in range(10_000)]
    text = f'image,{",".join(names)}\n1.jpg,{",".join("0" * 10_000)}\n'
    start = time.process_time()
    assert build(table, text).metainfo['classes'] == tuple(names)
    assert build(table, classes=names).metainfo['classes'] == tuple(names)
    assert time.process_time() - start < 1


def test_message_names_some_of_many_classes(table):
    text = f'image,labels\n1.jpg,{"x" * 100_000}\n'
    with pytest.raises(
        ValueError, match=r'100,002 characters.*\(5,000 in all\)'
    ) as error:
        build(table, text, classes=[f'label {i}' for i in range(5000)])
    assert len(str(error.value)) < 2000


def test_damaged_parquet(tmp_path):
    """In its footer, its pages or anywhere: a ValueError that names the file."""
    path = tmp_path / 'labels.parquet'
    pd.DataFrame(dict(image=['a.jpg', 'b.jpg'], cat=[1, 0])).to_parquet(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 4):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(ValueError):
            build(path)
    for end in (0, 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match='labels.parquet is no Parquet file'):
            build(path)
