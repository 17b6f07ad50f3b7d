# SPDX-License-Identifier: Apache-2.0
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets.nus_wide import CONCEPTS, NUSWIDE
from mlcl_plugin.engine import set_default_dataloader_cfg
from mlcl_plugin.models.utils import collect_targets

ROOT = Path(__file__).parents[2]
# name in the list of images: its concepts
TRAIN = {
    'actor\\0001_21.jpg': ['person', 'sky'],
    'zebra\\0002_7.jpg': ['zebra', 'animal'],
    'map\\0003_9.jpg': [],
    'sky\\0004_1.jpg': ['sky'],
}
TEST = {'sun\\0005_3.jpg': ['sunset'], 'book\\0006_8.jpg': []}
CSV = (
    'filepath,label,split_name\n'
    "images/a.jpg,\"['sky', 'clouds', 'sky']\",train\n"
    'images/b.jpg,[],train\n'
    'images/c.jpg,"[""zebra""]",val\n'
    '"images/d, e.jpg",[\'zebra\'],train\n'
)


def write_lists(root, joined=False, **splits):
    labels = root / 'Groundtruth/TrainTestLabels'
    labels.mkdir(parents=True, exist_ok=True)
    (root / 'ImageList').mkdir(exist_ok=True)
    for split, images in splits.items():
        lines = '\n'.join(images) + '\n'
        (root / f'ImageList/{split}Imagelist.txt').write_text(lines)
        table = [[int(c in names) for c in CONCEPTS] for names in images.values()]
        if joined:
            lines = [' '.join(map(str, row)) + ' ' for row in table]
            (labels / f'Labels_{split}.txt').write_text('\n'.join(lines) + '\n')
        else:
            for concept, column in zip(CONCEPTS, zip(*table)):
                text = '\n'.join(map(str, column)) + '\n'
                (labels / f'Labels_{concept}_{split}.txt').write_text(text)


@pytest.fixture(params=[False, True], ids=['single', 'joined'])
def root(request, tmp_path):
    """The official lists, in both forms of the labels."""
    write_lists(tmp_path, request.param, Train=TRAIN, Test=TEST)
    return tmp_path


def build(root, **kwargs):
    # serialization ends with a garbage collection, which takes its time
    kwargs = dict(serialize_data=False) | kwargs
    return DATASETS.build(dict(type='NUSWIDE', data_root=str(root), **kwargs))


def read(dataset):
    """Names of the labels by path below the data root."""
    names, found = dataset.metainfo['classes'], {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert info['gt_label'] == sorted(set(info['gt_label']))
        assert set(info) == {'img_path', 'gt_label', 'sample_idx'}
        path = Path(info['img_path']).relative_to(dataset.data_root)
        found[path.as_posix()] = [names[label] for label in info['gt_label']]
    return found


def as_paths(images, keep=False):
    return {
        f'Flickr/{name}'.replace('\\', '/'): sorted(concepts)
        for name, concepts in images.items()
        if concepts or keep
    }


def test_concepts():
    """In alphabetical order, as in Concepts81.txt."""
    assert len(CONCEPTS) == 81 and list(CONCEPTS) == sorted(set(CONCEPTS))
    assert (CONCEPTS[0], CONCEPTS[40], CONCEPTS[-1]) == (
        'airport',
        'nighttime',
        'zebra',
    )


@pytest.mark.parametrize('keep', [False, True])
@pytest.mark.parametrize(('split', 'images'), [('train', TRAIN), ('test', TEST)])
def test_lists(root, split, images, keep):
    dataset = build(root, split=split, keep_unlabelled=keep)
    assert isinstance(dataset, NUSWIDE)
    assert dataset.metainfo['classes'] == CONCEPTS
    found, expected = read(dataset), as_paths(images, keep)
    assert found == expected and list(found) == list(expected)
    word = 'kept' if keep else 'left out'
    assert f'Unlabelled images: \t{word}' in repr(dataset)


@pytest.mark.parametrize('names', [['zebra', 'sky'], ['sky']])
def test_some_concepts(root, names):
    dataset = build(root, classes=names)
    assert dataset.metainfo['classes'] == tuple(names)
    expected = {
        path: [c for c in names if c in found]
        for path, found in as_paths(TRAIN).items()
        if set(names) & set(found)
    }
    assert read(dataset) == expected


def test_single_files_come_first(tmp_path):
    """What is joined is made from them."""
    write_lists(tmp_path, True, Train={name: ['map'] for name in TRAIN})
    assert read(build(tmp_path))['Flickr/sky/0004_1.jpg'] == ['map']
    write_lists(tmp_path, False, Train=TRAIN)
    assert read(build(tmp_path)) == as_paths(TRAIN)


def test_csv(tmp_path):
    (tmp_path / 'nus_wid_data.csv').write_text(CSV)
    options = dict(ann_file='nus_wid_data.csv')
    assert read(build(tmp_path, **options)) == {
        'images/a.jpg': ['clouds', 'sky'],
        'images/d, e.jpg': ['zebra'],
    }
    assert read(build(tmp_path, split='val', **options)) == {'images/c.jpg': ['zebra']}
    kept = build(tmp_path, keep_unlabelled=True, classes=['zebra'], **options)
    assert list(read(kept).values()) == [[], [], ['zebra']]
    moved = build(tmp_path, data_prefix='elsewhere', **options)
    assert 'elsewhere/images/a.jpg' in read(moved)


names = st.text(
    st.characters(codec='utf-8', exclude_characters='\\/\r\n', exclude_categories='C'),
    min_size=1,
).map(lambda text: f'{text.strip()}x.jpg')
images = st.dictionaries(
    names, st.lists(st.sampled_from(CONCEPTS), unique=True), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=5)
@given(images=images, joined=st.booleans(), keep=st.booleans())
def test_round_trip_of_lists(tmp_path_factory, images, joined, keep):
    images['last.jpg'] = ['sky']
    root = tmp_path_factory.mktemp('lists')
    write_lists(root, joined, Train=images)
    dataset = build(root, keep_unlabelled=keep)
    assert read(dataset) == as_paths(images, keep)


@settings(deadline=None, max_examples=20)
@given(images=images, keep=st.booleans())
def test_round_trip_of_csv(tmp_path_factory, images, keep):
    import pandas

    images['last.jpg'] = ['sky']
    root = tmp_path_factory.mktemp('csv')
    rows = [dict(filepath=k, label=v, split_name='train') for k, v in images.items()]
    pandas.DataFrame(rows).to_csv(root / 'data.csv')
    dataset = build(root, ann_file='data.csv', keep_unlabelled=keep)
    assert read(dataset) == {k: sorted(v) for k, v in images.items() if v or keep}


@pytest.mark.parametrize('cache', [False, True])
def test_missing_photographs(root, cache):
    """Left out on request alone, and never without a word."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    options = dict(missing='skip', cache_dir=str(root / 'cache') if cache else None)
    assert read(build(root)) == as_paths(TRAIN)
    with pytest.raises(
        ValueError, match='All 3 photographs .* are missing.*data_prefix'
    ):
        build(root, **options)
    (root / 'Flickr/sky').mkdir(parents=True)
    (root / 'Flickr/sky/0004_1.jpg').touch()
    logger.addHandler(handler)
    try:
        dataset = build(root, **options)
        (line,) = lines
        assert read(dataset) == {'Flickr/sky/0004_1.jpg': ['sky']}
        assert '2 of 3 photographs are missing' in line and 'actor/0001' in line
        for name in ('actor/0001_21.jpg', 'zebra/0002_7.jpg'):
            (root / 'Flickr' / name).parent.mkdir()
            (root / 'Flickr' / name).touch()
        # what is there is looked at anew, cache or not
        assert read(build(root, **options)) == as_paths(TRAIN)
        assert lines == [line]
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(split='val'), "'train' or 'test' with the official lists, got 'val'"),
        (dict(missing='ignore'), "'error' or 'skip', got 'ignore'"),
        (dict(data_prefix=dict(img='x')), 'expected .img_path'),
        (dict(classes=['sky', 'Sky']), r"\['Sky'\], expected some of the 81 names"),
        (dict(classes=['sky', 'sky']), "'sky' more than once"),
        (dict(classes=[]), "'classes' is empty"),
        (dict(metainfo=dict(classes='sky')), "classes is the string 'sky'"),
        (
            dict(classes=['elk']),
            r'none of the 4 images has one of .*keep_unlabelled',
        ),
    ],
)
def test_bad_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        build(root, **options)


def test_malformed_single_labels(tmp_path):
    write_lists(tmp_path, Train=TRAIN)
    path = tmp_path / 'Groundtruth/TrainTestLabels/Labels_fox_Train.txt'
    for content, message in (
        ('0\n1\n2\n0\n', 'line 3 holds 2 as number 1, expected 0 or 1'),
        ('0\n1\n0\n', '3 lines of 1 numbers, expected 4 lines of 1: .*TrainImagelist'),
        ('0 1\n0 1\n0 1\n0 1\n', '4 lines of 2 numbers, expected 4 lines of 1'),
        ('0\nx\n0\n0\n', 'expected 0 or 1 per line, but .*x'),
        ('0\n0 1\n0\n0\n', 'expected 0 or 1 per line, but'),
        ('', 'is empty'),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=f'Labels_fox_Train.txt.*{message}'):
            build(tmp_path)
    path.write_bytes(b'\xff\xfe0\n')
    with pytest.raises(ValueError, match='not UTF-8'):
        build(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='Labels_fox_Train.txt.*data_root'):
        build(tmp_path)


def test_malformed_joined_labels(tmp_path):
    write_lists(tmp_path, True, Train=TRAIN)
    path = tmp_path / 'Groundtruth/TrainTestLabels/Labels_Train.txt'
    lines = path.read_text().splitlines()
    for content, message in (
        (lines[:2], '2 lines of 81 numbers, expected 4 lines of 81'),
        ([line[2:] for line in lines], '4 lines of 80 numbers'),
        ([lines[0], '-1' + lines[1][1:], *lines[2:]], 'line 2 holds -1 as number 1'),
        (
            [lines[0], lines[1][2:], *lines[2:]],
            'expected 81 numbers 0 or 1 per line, but',
        ),
    ):
        path.write_text('\n'.join(content))
        with pytest.raises(ValueError, match=f'Labels_Train.txt.*{message}'):
            build(tmp_path)


def test_missing_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match='TrainImagelist.txt.*data_root'):
        build(tmp_path)
    write_lists(tmp_path, Train=TRAIN)
    with pytest.raises(FileNotFoundError, match='TestImagelist.txt'):
        build(tmp_path, split='test')
    (tmp_path / 'ImageList/TrainImagelist.txt').write_text('\n\n')
    with pytest.raises(ValueError, match='TrainImagelist.txt is empty'):
        build(tmp_path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (CSV.replace('label', 'labels'), r"lacks the columns \['label'\]"),
        ('', 'lacks the columns'),
        (CSV.replace("'zebra'", "'zebr'"), r"row 5 .*'label' names \['zebr'\]"),
        (CSV.replace('[]', 'sky'), "row 3 .*holds 'sky', expected a list of names"),
        (CSV.replace('[]', '[1]'), r"row 3 .*holds '\[1\]', expected a list"),
        (CSV.replace('[]', '[['), 'row 3 .*expected a list'),
        (CSV + 'images/f.jpg\n', 'row 6 .*a field is missing'),
        (CSV + '"images/f.jpg', 'is not a CSV file'),
        (CSV + "images/f.jpg,['sky', 'sun'],train\n", 'row 6 .*in double quotes'),
        (CSV.replace('train', 'test'), r"no image of split 'train'.*\['test', 'val'\]"),
    ],
)
def test_malformed_csv(tmp_path, text, message):
    (tmp_path / 'data.csv').write_text(text)
    with pytest.raises(ValueError, match=f'data.csv.*{message}'):
        build(tmp_path, ann_file='data.csv')


def test_csv_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='data.csv.*ann_file'):
        build(tmp_path, ann_file='data.csv')
    (tmp_path / 'data.csv').mkdir()
    with pytest.raises(ValueError, match='data.csv is a folder'):
        build(tmp_path, ann_file='data.csv')


@pytest.mark.parametrize('pipeline', ['train_pipeline', 'two_view_pipeline'])
def test_in_a_dataloader(root, pipeline):
    """With the config's pipelines, as the runner builds it."""
    rng = np.random.default_rng(0)
    for name in as_paths(TRAIN):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        img = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
        cv2.imwrite(str(root / name), img)
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/nuswide_mlcl_448.py')
    loader = cfg.train_dataloader
    loader.update(batch_size=3, num_workers=0)
    loader.sampler.shuffle = False
    loader.dataset.update(data_root=str(root), pipeline=cfg[pipeline])
    set_default_dataloader_cfg(cfg)
    (batch,) = Runner.build_dataloader(cfg.train_dataloader)
    views = batch['inputs'] if pipeline == 'two_view_pipeline' else [batch['inputs']]
    assert [tuple(view.shape) for view in views] == [(3, 3, 448, 448)] * len(views)
    targets = collect_targets(batch['data_samples'], 81)
    expected = [[float(c in names) for c in CONCEPTS] for names in TRAIN.values()]
    assert targets.tolist() == [row for row in expected if any(row)]
