# SPDX-License-Identifier: Apache-2.0
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from torch.utils.data import get_worker_info

from mlcl_plugin.data_check import TOP_LABELS, check_datasets, find_splits
from mlcl_plugin.datasets.coco_multi_label import CocoMultiLabel
from mlcl_plugin.datasets.feature_vectors import FeatureVectors  # noqa: F401
from mlcl_plugin.datasets.hide_labels import HideLabels  # noqa: F401
from mlcl_plugin.datasets.tabular_multi_label import TabularMultiLabel  # noqa: F401
from mlcl_plugin.datasets.voc_multi_label import VOCMultiLabel  # noqa: F401

TO_TARGETS = dict(type='LabelsToTargets', num_classes=3)


def coco(root, split='train', **kwargs):
    """The config of a dataset with 8 (train) or 7 (val) images of cat, dog and owl."""
    return dict(
        type='CocoMultiLabel',
        data_root=f'{root}/',
        ann_file=f'{split}.json',
        data_prefix=split,
        # serialization ends with a garbage collection, which takes its time
        serialize_data=False,
        pipeline=[dict(type='LoadImage'), TO_TARGETS, dict(type='PackInputs')],
        **kwargs,
    )


def config(train=None, val=None, test=None, **kwargs):
    splits = dict(train=train, val=val, test=test)
    loaders = {
        f'{name}_dataloader': dict(batch_size=2, dataset=dataset)
        for name, dataset in splits.items()
        if dataset is not None
    }
    return Config(dict(default_scope='mmpretrain', **loaders, **kwargs))


def found(report, kind):
    return [finding for finding in report.findings if finding.kind == kind]


@pytest.fixture
def damaged(tiny_coco, tmp_path):
    """A copy of the images that a test may damage."""
    shutil.copytree(tiny_coco, tmp_path / 'data')
    return tmp_path / 'data'


@pytest.mark.parametrize('workers', [0, 2])
def test_sound_data(tiny_coco, workers):
    cfg = config(coco(tiny_coco), coco(tiny_coco, 'val'))
    report = check_datasets(cfg, workers)
    assert report.ok and report.findings == []
    train, val = report.splits
    assert (train.names, val.names) == (('train',), ('val',))
    # image n has the labels that are set in the binary number n + 1: 1 to 8 and 1 to 7,
    # but 8 has none of the three and is left out
    assert (train.num_images, val.num_images) == (7, 7)
    assert train.classes == ('cat', 'dog', 'owl')
    assert train.present.tolist() == [4, 4, 4] and train.absent.tolist() == [3, 3, 3]
    assert sorted(train.labels_per_image) == [1, 1, 1, 2, 2, 2, 3]
    assert train.cooccurrence.tolist() == [[4, 2, 2], [2, 4, 2], [2, 2, 4]]
    expected = [[n >> label & 1 for label in range(3)] for n in range(1, 8)]
    assert (train.labels.toarray() * 1).tolist() == expected
    assert train.has_digest.all()
    picture = cv2.imread(str(tiny_coco / 'train/002.png'))
    np.testing.assert_array_equal(train.images.picture(2), picture[..., ::-1])
    assert train.images.targets(2).tolist() == [1, 1, 0]


def test_damaged_images(damaged):
    """Each fault is told with the name of the file."""
    (damaged / 'train/000.png').unlink()
    path = damaged / 'train/001.png'
    path.write_bytes(path.read_bytes()[:200])
    (damaged / 'train/002.png').write_bytes(b'')
    picture = cv2.imread(str(damaged / 'train/003.png'))
    jpeg = cv2.imencode('.jpg', picture)[1].tobytes()
    (damaged / 'train/003.png').write_bytes(jpeg[:-100])
    (damaged / 'train/004.png').write_text('not found')
    report = check_datasets(config(coco(damaged), coco(damaged, 'val')), workers=2)
    assert not report.ok
    (missing,) = found(report, 'missing image')
    assert missing.level == 'error' and missing.splits == ('train',)
    assert missing.examples == (f'{damaged}/train/000.png',)
    (unreadable,) = found(report, 'unreadable image')
    assert unreadable.count == 4
    named = [Path(text.split("'")[1]).name for text in unreadable.examples]
    assert named == ['001.png', '002.png', '003.png', '004.png']
    # labels are counted all the same, and val is as it was
    train, val = report.splits
    assert train.present.tolist() == [4, 4, 4]
    assert train.has_digest.tolist() == [False] * 5 + [True] * 2
    assert val.problems == {
        'missing image': 0,
        'unreadable image': 0,
        'damage inside an image': 0,
        'annotation': 0,
    }
    # without a look at files, nothing is known about them
    assert check_datasets(config(coco(damaged)), read_files=False).ok


def test_duplicates(damaged):
    shutil.copy(damaged / 'train/000.png', damaged / 'train/004.png')
    shutil.copy(damaged / 'train/003.png', damaged / 'val/002.png')
    shutil.copy(damaged / 'train/000.png', damaged / 'val/005.png')
    report = check_datasets(config(coco(damaged), coco(damaged, 'val')))
    assert report.ok
    (within,) = found(report, 'duplicates within a split')
    assert within.level == 'warning' and within.splits == ('train',)
    folder = f'{damaged}/train'
    # image 0 has cat, image 4 has cat and owl
    assert within.examples == (
        f'{folder}/000.png = {folder}/004.png (different labels)',
    )
    (across,) = found(report, 'duplicates across splits')
    assert across.splits == ('train', 'val')
    assert set(across.examples) == {
        f'{folder}/000.png = {damaged}/val/005.png',
        f'{folder}/003.png = {damaged}/val/002.png',
    }
    assert across.message.startswith('2 of the 7 images of val are in train')


def test_datasets_that_cannot_be_built(damaged):
    """Their own errors, and the other splits are checked all the same."""
    content = json.loads((damaged / 'val.json').read_text())
    content['annotations'][0]['category_id'] = 4
    (damaged / 'misspelt.json').write_text(json.dumps(content))
    cfg = config(coco(damaged), coco(damaged, 'misspelt'), coco(damaged, 'nowhere'))
    report = check_datasets(cfg)
    assert [split.names for split in report.splits] == [('train',)]
    misspelt, nowhere = found(report, 'data set')
    assert misspelt.splits == ('val',) and 'category_id 4' in misspelt.message
    assert nowhere.splits == ('test',) and 'nowhere.json' in nowhere.message
    assert not report.ok and '\n' not in misspelt.message
    # a class that nobody registered
    report = check_datasets(config(dict(type='NoSuchDataset'), coco(damaged)))
    (finding,) = found(report, 'data set')
    assert 'NoSuchDataset is not in the' in finding.message and len(report.splits) == 1


@pytest.mark.parametrize('empty', ['data_list', 'indices', 'list'])
def test_split_without_images(tmp_path, tiny_coco, empty):
    if empty == 'indices':
        dataset = coco(tiny_coco, indices=0)
    elif empty == 'data_list':
        content = dict(metainfo=dict(classes=['cat', 'dog', 'owl']), data_list=[])
        (tmp_path / 'x.json').write_text(json.dumps(content))
        dataset = dict(type='MultiLabelDataset', ann_file=str(tmp_path / 'x.json'))
    else:
        (tmp_path / 'ImageSets/Main').mkdir(parents=True)
        (tmp_path / 'ImageSets/Main/train.txt').touch()
        dataset = dict(type='VOCMultiLabel', data_root=str(tmp_path), split='train')
    report = check_datasets(config(dataset, coco(tiny_coco, 'val')))
    (finding,) = report.findings
    assert finding.level == 'error' and finding.splits == ('train',)
    text = {'list': 'train.txt is empty'}.get(empty, 'The split has no image')
    assert text in finding.message
    assert len(report.splits) == 1


def test_wrong_annotations(tmp_path, tiny_coco):
    """One by one, with the name of the image."""
    data_list = [
        dict(img_path='000.png', gt_label=[0]),
        dict(img_path='001.png', gt_label=[3]),
        dict(img_path='002.png', gt_label=[1, 0, 1]),
        dict(img_path='003.png', gt_score=[1, -1, 0]),
        dict(img_path='004.png', gt_score=[1, 0.5, 0]),
        dict(img_path='005.png'),
    ]
    content = dict(metainfo=dict(classes=['cat', 'dog', 'owl']), data_list=data_list)
    (tmp_path / 'x.json').write_text(json.dumps(content))
    dataset = dict(
        type='MultiLabelDataset',
        ann_file=str(tmp_path / 'x.json'),
        data_prefix=f'{tiny_coco}/train',
    )
    report = check_datasets(config(dataset))
    (finding,) = found(report, 'annotation')
    assert finding.level == 'error' and finding.count == 4
    for name, text in zip(('001', '002', '004', '005'), finding.examples):
        assert f'{name}.png' in text
    (split,) = report.splits
    assert split.annotated.tolist() == [True, False, False, True, False, False]
    assert split.present.tolist() == [2, 0, 0] and split.unknown.tolist() == [0, 1, 0]
    assert split.absent.tolist() == [0, 1, 2]
    assert split.images.targets(1) is None


def write_voc(root, rows, classes=('cat', 'dog', 'owl')):
    """Images a, b, ... with boxes of 1 (present) and -1 (difficult)."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for number, row in enumerate(rows):
        image = np.full((8, 8, 3), 20 * number, dtype=np.uint8)
        cv2.imwrite(str(root / f'JPEGImages/{number}.jpg'), image)
        boxes = [
            f'<object><name>{name}</name><difficult>{int(value < 0)}</difficult>'
            '</object>'
            for name, value in zip(classes, row)
            if value
        ]
        text = f'<annotation>{"".join(boxes)}</annotation>'
        (root / f'Annotations/{number}.xml').write_text(text)
    names = ''.join(f'{number}\n' for number in range(len(rows)))
    (root / 'ImageSets/Main/train.txt').write_text(names)
    return dict(
        type='VOCMultiLabel',
        data_root=str(root),
        split='train',
        metainfo=dict(classes=classes),
        pipeline=[dict(type='LoadImage'), TO_TARGETS, dict(type='PackInputs')],
    )


def test_unknown(tmp_path):
    dataset = write_voc(tmp_path, [[1, -1, 0], [0, -1, 0], [0, 1, 1]])
    report = check_datasets(config(dataset))
    (split,) = report.splits
    assert split.present.tolist() == [1, 1, 1]
    assert split.unknown.tolist() == [0, 2, 0]
    assert split.absent.tolist() == [2, 0, 2]
    assert report.findings == []
    # what training makes of them without the transform
    dataset['pipeline'] = [dict(type='LoadImage'), dict(type='PackInputs')]
    (finding,) = check_datasets(config(dataset)).findings
    assert finding.kind == 'unknown as absent' and finding.level == 'warning'
    assert finding.count == 2 and 'LabelsToTargets' in finding.message
    # and where it is told to look elsewhere
    dataset['pipeline'] = [dict(**TO_TARGETS, unknown_keys=[])]
    (split,) = check_datasets(config(dataset)).splits
    assert split.unknown.sum() == 0


def test_labels_never_present(tiny_coco):
    train = coco(tiny_coco, indices=3)
    report = check_datasets(config(train, coco(tiny_coco, 'val')))
    assert report.ok
    (finding,) = report.findings
    assert finding.kind == 'never present' and finding.splits == ('train',)
    assert finding.examples == ('owl',) and '1 of 3 labels is never' in finding.message


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (['cat', 'owl', 'dog'], 'the same names in another order.*index 1'),
        (['cat', 'dog'], r"only train has \['owl'\].*index 2"),
    ],
)
def test_classes_that_differ(tiny_coco, classes, message):
    val = coco(tiny_coco, 'val', classes=classes)
    val['pipeline'] = []
    report = check_datasets(config(coco(tiny_coco), val))
    (finding,) = found(report, 'classes')
    assert finding.level == 'error' and finding.splits == ('train', 'val')
    assert re.search(message, finding.message)


def test_numbers_of_classes_that_differ(tiny_coco):
    train = coco(tiny_coco)
    train['pipeline'] = [dict(**TO_TARGETS | dict(num_classes=4))]
    model = dict(neck=dict(num_classes=3), head=dict(num_classes=80))
    steps = dict(one=dict(), two=dict(model=dict(head=dict(num_classes=3))))
    report = check_datasets(config(train, model=model, steps=steps))
    (finding,) = found(report, 'classes')
    for text in ('LabelsToTargets.num_classes=4', 'model.head.num_classes=80'):
        assert text in finding.message
    assert 'steps.one.model.head.num_classes=80' in finding.message
    assert 'neck' not in finding.message and 'steps.two' not in finding.message


def test_a_data_set_is_read_once(tiny_coco):
    """However its pipelines differ, under the names it has."""
    again = coco(tiny_coco, 'val', lazy_init=True)
    again['pipeline'] = [dict(type='LoadImageFromFile')]
    cfg = config(coco(tiny_coco), coco(tiny_coco, 'val'), again)
    report = check_datasets(cfg)
    assert [split.names for split in report.splits] == [('train',), ('val', 'test')]
    # train on val
    report = check_datasets(config(coco(tiny_coco), coco(tiny_coco)))
    assert [split.names for split in report.splits] == [('train', 'val')]
    (finding,) = report.findings
    assert finding.kind == 'duplicates across splits' and report.ok


def test_steps(load_config, tiny_coco):
    """Both steps read the same images, and both validate on the images of test."""
    names = [split.names for split in find_splits(load_config())]
    assert names == [('train',), ('val', 'test')]
    cfg = load_config({'steps.step2.train_dataloader.dataset.indices': 4})
    names = [split.names for split in find_splits(cfg)]
    assert names == [('step1/train',), ('step2/train',), ('val', 'test')]
    sizes = [split.num_images for split in check_datasets(cfg).splits]
    assert sizes == [7, 4, 7]
    # the config as it stands is trained by no step
    changes = {f'steps.step{n}.train_dataloader.dataset.indices': 5 for n in (1, 2)}
    cfg = load_config(changes)
    assert check_datasets(cfg).splits[0].num_images == 5


def test_wrappers(tiny_coco):
    """Each image once, with its labels as the wrapper leaves them."""
    part = coco(tiny_coco)
    cfg = config(
        dict(type='RepeatDataset', times=3, dataset=part),
        dict(
            type='ConcatDataset',
            datasets=[coco(tiny_coco, 'val'), coco(tiny_coco, 'val')],
        ),
        dict(type='HideLabels', dataset=part, keep=0.5),
    )
    report = check_datasets(cfg)
    train, val, test = report.splits
    assert (train.num_images, train.epoch_length) == (7, 21)
    assert (val.num_images, val.epoch_length) == (14, 14)
    assert val.images.path(7) == val.images.path(0) != val.images.path(6)
    (within,) = found(report, 'duplicates within a split')
    assert within.splits == ('val',) and within.count == 7
    assert 'different' not in within.message
    assert test.unknown.sum() > 0 and (test.present <= train.present).all()
    balanced = dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=part)
    (train,) = check_datasets(config(balanced)).splits
    assert train.num_images == 7 < train.epoch_length
    folds = [
        dict(type='KFoldDataset', num_splits=7, test_mode=mode, dataset=part)
        for mode in (False, True)
    ]
    report = check_datasets(config(*folds))
    assert [split.num_images for split in report.splits] == [6, 1]
    assert not found(report, 'duplicates across splits')


def test_vectors(tmp_path):
    """There are no files to be read, and nothing is said about them."""
    rng = np.random.default_rng(0)
    arrays = dict(
        train_features=rng.random((5, 4)), train_labels=np.eye(5, 3, dtype=int)
    )
    np.savez(tmp_path / 'x.npz', **arrays)
    dataset = dict(type='FeatureVectors', ann_file=f'{tmp_path}/x.npz', split='train')
    report = check_datasets(config(dataset))
    (split,) = report.splits
    assert report.ok and split.present.tolist() == [1, 1, 1]
    assert not split.has_digest.any() and split.images.picture(0) is None
    assert split.images.path(3) == 'item 3'


def test_classes_that_nobody_tells(tmp_path, tiny_coco):
    data_list = [dict(img_path='000.png', gt_label=[0, 2])]
    (tmp_path / 'x.json').write_text(json.dumps(dict(metainfo={}, data_list=data_list)))
    dataset = dict(
        type='MultiLabelDataset',
        ann_file=f'{tmp_path}/x.json',
        data_prefix=f'{tiny_coco}/train',
    )
    (finding,) = check_datasets(config(dataset)).findings
    assert finding.level == 'error' and 'does not name its classes' in finding.message
    report = check_datasets(config(dataset, model=dict(head=dict(num_classes=3))))
    assert report.ok and report.splits[0].classes == ('label 0', 'label 1', 'label 2')


def test_many_labels(tmp_path):
    """Co-occurrence is counted for the most frequent ones, and this is said."""
    number, labels = 40, 5000
    rng = np.random.default_rng(0)
    rows = [
        sorted({0, 4999, *rng.integers(labels, size=3).tolist()}) for _ in range(number)
    ]
    data_list = [dict(img_path=f'{i}.jpg', gt_label=row) for i, row in enumerate(rows)]
    classes = [f'n{i}' for i in range(labels)]
    content = dict(metainfo=dict(classes=classes), data_list=data_list)
    (tmp_path / 'x.json').write_text(json.dumps(content))
    dataset = dict(type='MultiLabelDataset', ann_file=f'{tmp_path}/x.json')
    report = check_datasets(config(dataset), read_files=False)
    (split,) = report.splits
    assert split.cooccurrence.shape == (TOP_LABELS, TOP_LABELS)
    assert split.top[:2].tolist() == [0, 4999] and split.cooccurrence[0, 1] == number
    content = json.loads(report.to_json())['splits'][0]
    assert content['cooccurrence']['about'].startswith('the 100 most frequent of 5000')
    assert len(content['labels']) == 5000
    text = report.to_markdown('x', max_labels=10)
    assert 'the 5 most and 5 least frequent of 5,000' in text
    assert 'among the 100 most frequent' in text
    assert len(text.splitlines()) < 100


def test_figures(tiny_coco):
    """The JSON has the numbers, worked out by hand."""
    dataset = coco(tiny_coco, indices=3)
    content = json.loads(check_datasets(config(dataset)).to_json())
    assert content['ok'] and len(content['findings']) == 1
    (split,) = content['splits']
    # cat; dog; cat and dog
    assert split['images'] == 3 and split['never_present'] == ['owl']
    assert split['labels_an_image'] == dict(
        mean=1.3333, min=1, max=2, images_by_number=[0, 2, 1]
    )
    assert split['labels'][0] == dict(
        name='cat', present=2, absent=1, unknown=0, imbalance=1.0
    )
    assert split['labels'][2] == dict(
        name='owl', present=0, absent=3, unknown=0, imbalance=None
    )
    assert split['imbalance'] == dict(most_to_least=1.0, mean=1.0)
    assert split['cooccurrence']['counts'][0][:2] == [2, 1]


def test_imbalance(tmp_path):
    rows = [[1, 1, 0]] * 1 + [[1, 0, 0]] * 5
    (split,) = check_datasets(config(write_voc(tmp_path, rows))).splits
    np.testing.assert_allclose(split.imbalance, [1, 6, np.nan])
    imbalance = split.to_dict()['imbalance']
    assert imbalance == dict(most_to_least=6.0, mean=3.5)


def test_markdown(damaged):
    (damaged / 'train/000.png').unlink()
    shutil.copy(damaged / 'train/003.png', damaged / 'val/002.png')
    report = check_datasets(config(coco(damaged), coco(damaged, 'val')))
    text = report.to_markdown('My title')
    lines = text.splitlines()
    assert lines[0] == '# My title'
    cells = [
        [c.strip() for c in line.split('|')[1:-1]] for line in lines if '|' in line
    ]
    assert ['', 'train', 'val'] in cells and ['images', '7', '7'] in cells
    assert ['missing images', '1', '0'] in cells
    assert ['cat', '4', '57.1%', '3', '0', '1.0'] in cells
    assert ['cat + dog', '2', '50%', '50%'] in cells
    error = '- **error**: missing image (train): 1 of 7 images is missing.'
    place = lines.index(error)
    assert lines[place + 1] == f'  - {damaged}/train/000.png'
    assert '**warning**: duplicates across splits (train, val)' in text


def test_names_do_not_break_tables(tmp_path):
    dataset = write_voc(tmp_path, [[1, 1, 0]], ('a|b', 'c\\', '$d'))
    text = check_datasets(config(dataset)).to_markdown('x')
    rows = [line for line in text.splitlines() if line.startswith('| a')]
    assert rows and all('a\\|b' in row for row in rows)


def test_long_lists_are_cut(tmp_path, tiny_coco):
    data_list = [dict(img_path=f'{i}.png', gt_label=[0]) for i in range(50)]
    content = dict(metainfo=dict(classes=['cat']), data_list=data_list)
    (tmp_path / 'x.json').write_text(json.dumps(content))
    dataset = dict(type='MultiLabelDataset', ann_file=f'{tmp_path}/x.json')
    report = check_datasets(config(dataset))
    text = report.to_markdown('x', max_examples=5)
    assert '50 of 50 images are missing' in text and '  - and 45 more' in text
    assert len(found(report, 'missing image')[0].examples) == 50
    # all there is to know of a split without a single file
    assert report.splits[0].present.tolist() == [50]


def test_no_data_set():
    with pytest.raises(ValueError, match='names no data set'):
        check_datasets(config(model=dict()))


def test_progress(tiny_coco, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', stream)
    check_datasets(config(coco(tiny_coco)), progress=True)
    assert 'train: 7 images' in stream.getvalue() and '7/7' in stream.getvalue()


class Dying(CocoMultiLabel):
    """A dataset whose reading ends the process, as a decoder may."""

    def get_data_info(self, idx):
        if get_worker_info() is not None:
            os._exit(1)
        return super().get_data_info(idx)


def test_process_that_dies(tiny_coco):
    dataset = coco(tiny_coco) | dict(type=Dying)
    report = check_datasets(config(dataset, coco(tiny_coco, 'val')), workers=1)
    (finding,) = report.findings
    assert finding.level == 'error' and finding.splits == ('train',)
    assert re.search('images 0 to 31 of 7.*workers=0', finding.message)
    assert [split.names for split in report.splits] == [('val',)]


def test_labels_that_differ_only_in_spelling(tmp_path):
    """'café' is written with one character and with two."""
    names = ['cat', 'Cat', ' dog', 'dog', 'caf\u00e9', 'cafe\u0301', 'traffic_light']
    names += ['traffic light', '猫', 'owl']
    for name in ('train', 'val'):
        rows = [['image', *names], ['a.jpg', *['1'] * 10], ['b.jpg', *['0'] * 10]]
        text = ''.join(','.join(row) + '\n' for row in rows)
        (tmp_path / f'{name}.csv').write_text(text, encoding='utf-8')
    splits = [
        dict(type='TabularMultiLabel', ann_file=f'{tmp_path}/{name}.csv')
        for name in ('train', 'val')
    ]
    report = check_datasets(config(*splits), read_files=False)
    same, blank = found(report, 'names of labels')
    assert (same.level, same.splits, same.count) == ('warning', ('train', 'val'), 4)
    assert same.message.startswith('8 labels differ from another one only in capital')
    assert same.examples == (
        "'cat' = 'Cat'",
        "' dog' = 'dog'",
        "'caf\\xe9' = 'cafe\\u0301'",
        "'traffic_light' = 'traffic light'",
    )
    assert (blank.count, blank.examples) == (1, ("' dog'",))
    assert blank.message.startswith('1 of 10 labels is written with a blank')


def test_vectors_of_two_labels_read_as_indices(tmp_path):
    """[0, 1] and [1, 0] may be indices or vectors; [0, 0] can be a vector only."""
    items = [[0, 1], [1, 0], [0, 1]]
    content = dict(
        metainfo=dict(classes=['cat', 'dog']),
        data_list=[
            dict(img_path=f'{i}.jpg', gt_label=labels) for i, labels in enumerate(items)
        ],
    )
    path = tmp_path / 'train.json'
    path.write_text(json.dumps(content))
    cfg = config(dict(type='MultiLabelDataset', ann_file=str(path)))
    (finding,) = found(check_datasets(cfg, read_files=False), 'always present')
    assert (finding.level, finding.examples) == ('warning', ('cat', 'dog'))
    assert '2 of 2 labels are present in all images. Are vectors' in finding.message
    content['data_list'] += [
        dict(img_path='a.jpg', gt_label=[0, 0]),
        dict(img_path='b.jpg', gt_label=[1, 1]),
    ]
    path.write_text(json.dumps(content))
    (finding,) = found(check_datasets(cfg, read_files=False), 'annotation')
    assert (finding.level, finding.count) == ('error', 2)
    assert 'looks like a vector with one entry per label' in finding.examples[0]


@pytest.mark.parametrize('workers', [0, 2])
def test_damage_inside_a_jpeg(tmp_path, workers, capfd):
    """Half of the pixels are lost, and the end marker is there."""
    rng = np.random.default_rng(0)
    sound = cv2.imencode('.jpg', rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))[1]
    sound = sound.tobytes()
    half = len(sound) // 2
    contents = dict(
        sound=sound,
        zeros=sound[:half] + bytes(half) + sound[-2:],
        stray=sound[:-2] + bytes(51) + sound[-2:],
    )
    rows = ''
    for name, content in contents.items():
        (tmp_path / f'{name}.jpg').write_bytes(content)
        rows += f'{name}.jpg,{int(name == "zeros")}\n'
    (tmp_path / 'a.csv').write_text(f'image,cat\n{rows}')
    train = dict(
        type='TabularMultiLabel',
        ann_file=f'{tmp_path}/a.csv',
        data_prefix=str(tmp_path),
        pipeline=[dict(type='LoadImage')],
    )
    report = check_datasets(config(train), workers)
    (finding,) = found(report, 'damage inside an image')
    assert (finding.level, finding.count) == ('warning', 2)
    assert finding.message.startswith('2 of 3 images are damaged inside: pixels may')
    names = [text.partition(': Corrupt JPEG data')[0] for text in finding.examples]
    assert names == [f'{tmp_path}/zeros.jpg', f'{tmp_path}/stray.jpg']
    assert report.ok
    assert '| images damaged inside' in report.to_markdown('')
    assert report.splits[0].images.picture(1).shape == (64, 64, 3)
    # what the decoder prints names no file
    assert 'Corrupt' not in capfd.readouterr().err


def test_missing_images_that_look_like_others(tmp_path):
    names = ['sub\\g.jpg', 'e.jpg ', 'caf\u00e9.jpg', 'none.jpg']
    for name in ('sub/g.jpg', 'e.jpg', 'cafe\u0301.jpg'):
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rows = ''.join(f'{name},{i % 2}\n' for i, name in enumerate(names))
    (tmp_path / 'a.csv').write_text(f'image,cat\n{rows}', encoding='utf-8')
    root = f'{tmp_path}/images'
    train = dict(type='TabularMultiLabel', ann_file=f'{tmp_path}/a.csv')
    report = check_datasets(config(train | dict(data_prefix=root)))
    (finding,) = found(report, 'missing image')
    assert finding.examples == (
        f"'{root}/sub\\\\g.jpg': There is '{root}/sub/g.jpg': with / instead of \\.",
        f"'{root}/e.jpg ': There is '{root}/e.jpg': without blanks.",
        f"{root}/caf\u00e9.jpg: There is '{root}/cafe\\u0301.jpg': another form of "
        'Unicode.',
        f'{root}/none.jpg',
    )


def test_images_that_would_block_or_fill_memory(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'zero.jpg').symlink_to('/dev/zero')
    header = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + (60_000).to_bytes(4, 'big') * 2
    (tmp_path / 'huge.png').write_bytes(header + bytes(20))
    (tmp_path / 'a.csv').write_text('image,cat\npipe.jpg,1\nzero.jpg,0\nhuge.png,1\n')
    train = dict(
        type='TabularMultiLabel',
        ann_file=f'{tmp_path}/a.csv',
        data_prefix=str(tmp_path),
        pipeline=[dict(type='LoadImage', max_pixels=10**9)],
    )
    (finding,) = found(check_datasets(config(train)), 'unreadable image')
    for text, part in zip(
        finding.examples, ('named pipe', 'a device', '60,000 x 60,000 pixels')
    ):
        assert part in text
    assert 'max_pixels=1000000000' in finding.examples[2]
