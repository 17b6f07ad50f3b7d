# SPDX-License-Identifier: Apache-2.0
import json
import time
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmpretrain.datasets import VOC, MultiLabelDataset
from scipy.sparse import csr_array

from mlcl_plugin.datasets.coco_multi_label import CocoMultiLabel
from mlcl_plugin.datasets.forms import (
    ImageLabels,
    guess_form,
    read_labels,
    write_labels,
)
from mlcl_plugin.datasets.forms.voc import _image_suffix
from mlcl_plugin.datasets.tabular_multi_label import TabularMultiLabel
from mlcl_plugin.datasets.transforms.labels_to_targets import LabelsToTargets
from mlcl_plugin.datasets.voc_multi_label import VOCMultiLabel

TARGETS = [[1, 0, -1], [0, 0, 0], [0, 1, 1], [-1, -1, 0]]
IMAGES = ('a.jpg', 'my photos/b c.jpg', 'ü/猫.jpg', 'd.jpg')
CLASSES = ('traffic light', 'NA', '猫 & <dog>; "owl"')


def make(targets=TARGETS, images=IMAGES, classes=CLASSES):
    return ImageLabels(classes, images, csr_array(np.array(targets, dtype=np.int8)))


def known(labels):
    return labels.without_unknown('negative')


def assert_same(got, expected):
    assert got.classes == expected.classes
    assert got.images == expected.images
    np.testing.assert_array_equal(got.targets.toarray(), expected.targets.toarray())


PLACES = {
    'coco': 'labels.json',
    'voc': 'voc',
    'csv': 'labels.csv',
    'tsv': 'labels.tsv',
    'parquet': 'labels.parquet',
    'mmpretrain': 'labels.json',
}


def form_of(place):
    return {'coco': 'coco', 'mmpretrain': 'mmpretrain'}.get(place)


@pytest.mark.parametrize('place', PLACES)
def test_round_trip(tmp_path, place):
    labels = make()
    if place == 'coco':
        labels = known(labels)
    path = tmp_path / 'new folder' / PLACES[place]
    write_labels(labels, path, form_of(place))
    assert_same(read_labels(path), labels)
    assert labels.labels_of(2, 1) == [1, 2]


def names(minimum=1):
    """Texts that are odd, but not refused by the form that is hardest to please."""
    characters = st.characters(
        exclude_categories=('Cc', 'Cs', 'Cn'), exclude_characters='\ufeff'
    )
    text = st.one_of(
        st.text(characters, min_size=minimum, max_size=12),
        st.sampled_from(
            ['NA', 'nan', '1', '1.0', 'a,b', 'a;b', '"', "'", '%2F', 'a/b']
        ),
    )
    return text.filter(lambda name: name == name.strip() and name)


def image_names():
    parts = names().map(lambda name: name.replace('/', '_'))
    parts = parts.filter(lambda name: name not in ('.', '..'))
    path = st.lists(parts, min_size=1, max_size=2).map('/'.join)
    # Some file systems have no place for longer ones.
    return path.map(lambda name: f'{name}.jpg').filter(lambda x: len(x.encode()) < 150)


@st.composite
def some_labels(draw):
    classes = draw(st.lists(names(), min_size=1, max_size=5, unique=True))
    classes = [name for name in classes if name not in ('image', 'labels')] or ['x']
    images = draw(st.lists(image_names(), min_size=1, max_size=5, unique=True))
    # No image may be the folder of another one.
    folders = {image.partition('/')[0] for image in images if '/' in image}
    images = [x for x in images if x.removesuffix('.jpg') + '.xml' not in folders]
    images = images or ['x.jpg']
    row = st.lists(
        st.sampled_from([0, 0, 1, -1]), min_size=len(classes), max_size=len(classes)
    )
    rows = draw(st.lists(row, min_size=len(images), max_size=len(images)))
    return make(rows, tuple(images), tuple(classes))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(labels=some_labels())
def test_round_trip_through_all_forms(tmp_path_factory, labels):
    root = tmp_path_factory.mktemp('forms')
    # COCO -> CSV -> VOC -> COCO, with what COCO can hold ...
    start = known(labels)
    write_labels(start, root / 'first.json', 'coco')
    write_labels(read_labels(root / 'first.json'), root / 'labels.csv')
    write_labels(read_labels(root / 'labels.csv'), root / 'voc', split='my list')
    write_labels(
        read_labels(root / 'voc', split='my list'), root / 'second.json', 'coco'
    )
    assert_same(read_labels(root / 'second.json'), start)
    first, second = (root / f'{n}.json' for n in ('first', 'second'))
    assert first.read_bytes() == second.read_bytes()
    # ... and the others with what is unknown.
    write_labels(labels, root / 'unknown.tsv')
    write_labels(read_labels(root / 'unknown.tsv'), root / 'voc_unknown')
    write_labels(read_labels(root / 'voc_unknown'), root / 'unknown.json', 'mmpretrain')
    write_labels(read_labels(root / 'unknown.json'), root / 'unknown.parquet')
    assert_same(read_labels(root / 'unknown.parquet'), labels)


@pytest.mark.parametrize('place', PLACES)
def test_datasets_read_it(tmp_path, place):
    """What training gets to see, by the readers of a config."""
    labels, path = make(), tmp_path / PLACES[place]
    if place == 'coco':
        labels = known(labels)
    write_labels(labels, path, form_of(place), split='train')
    prefix = str(tmp_path / 'images')
    if place == 'coco':
        dataset = CocoMultiLabel(str(path), data_prefix=prefix, keep_unlabelled=True)
    elif place == 'voc':
        dataset = VOCMultiLabel(
            data_root=str(path),
            split='train',
            data_prefix=dict(img_path=prefix, ann_path='Annotations'),
            classes=str(path / 'classes.txt'),
        )
    elif place == 'mmpretrain':
        dataset = MultiLabelDataset(str(path), data_prefix=prefix)
    else:
        dataset = TabularMultiLabel(str(path), data_prefix=prefix)
    assert tuple(dataset.metainfo['classes']) == CLASSES
    to_targets = LabelsToTargets(len(CLASSES))
    for image, info in zip(IMAGES, dataset.load_data_list()):
        assert info['img_path'] == f'{prefix}/{image}'
    for index, row in enumerate(labels.targets.toarray()):
        targets = to_targets(dataset.get_data_info(index))['gt_score']
        np.testing.assert_array_equal(targets, row)


def test_lists_of_voc(tmp_path):
    write_labels(make(), tmp_path, split='val')
    lists = tmp_path / 'ImageSets/Main'
    got = (lists / 'traffic light_val.txt').read_text().splitlines()
    assert got == ['a  1', 'my photos/b c -1', 'ü/猫 -1', 'd  0']
    assert (lists / 'val.txt').read_text().splitlines() == [
        image.removesuffix('.jpg') for image in IMAGES
    ]


def test_names_of_labels_do_not_leave_the_folder(tmp_path):
    labels = make([[1, 0]], ('a.jpg',), ('../../cat', 'a%2Fb'))
    write_labels(labels, tmp_path / 'a' / 'voc')
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert all(tmp_path / 'a' / 'voc' in path.parents for path in files)
    assert_same(read_labels(tmp_path / 'a' / 'voc'), labels)


def test_voc_of_mmpretrain(tmp_path):
    """MMPretrain's own class needs <difficult> in every box."""
    write_labels(make(), tmp_path, split='train')
    dataset = VOC(
        data_root=str(tmp_path), split='train', metainfo=dict(classes=CLASSES)
    )
    assert dataset.get_data_info(2)['gt_label'] == [1, 2]
    assert dataset.get_data_info(3)['gt_label_difficult'] == [0, 1]


def test_boxes_around_images(tmp_path):
    """With the images' sizes, and marked as no boxes of objects."""
    labels = make([[1, 1], [0, 1]], ('a.jpg', 'b.jpg'), ('cat', 'dog'))
    for image in labels.images:
        cv2.imwrite(str(tmp_path / image), np.zeros((30, 40, 3), dtype=np.uint8))
    write_labels(labels, tmp_path / 'c.json', 'coco', image_root=tmp_path)
    coco = pytest.importorskip('pycocotools.coco').COCO(tmp_path / 'c.json')
    assert coco.loadImgs(2)[0] == dict(id=2, file_name='b.jpg', width=40, height=30)
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert [a['bbox'] for a in annotations] == [[0, 0, 40, 30]] * 2
    assert all(a['image_level_only'] and a['area'] == 1200 for a in annotations)

    write_labels(labels, tmp_path / 'voc', image_root=tmp_path)
    root = ElementTree.parse(tmp_path / 'voc/Annotations/b.xml')
    assert [root.findtext(f'size/{side}') for side in ('width', 'height')] == [
        '40',
        '30',
    ]
    assert [e.text for e in root.find('object/bndbox')] == ['1', '1', '40', '30']

    # nothing is made up without images
    write_labels(labels, tmp_path / 'd.json', 'coco')
    assert 'bbox' not in json.loads((tmp_path / 'd.json').read_text())['annotations'][0]
    with pytest.raises(FileNotFoundError, match="no image file '.*nowhere/a.jpg'"):
        write_labels(labels, tmp_path / 'e.json', 'coco', image_root='nowhere')
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match='Cannot read the size'):
        write_labels(labels, tmp_path / 'e.json', 'coco', image_root=tmp_path)


def test_boxes_and_crowds_become_labels(tmp_path):
    content = dict(
        images=[dict(id=7, file_name='a.jpg'), dict(id=3, file_name='b.jpg')],
        annotations=[
            dict(id=1, image_id=7, category_id=90, bbox=[1, 2, 3, 4], iscrowd=1),
            dict(id=2, image_id=7, category_id=90, bbox=[1, 2, 3, 4]),
        ],
        categories=[dict(id=90, name='owl'), dict(id=4, name='cat')],
    )
    (tmp_path / 'c.json').write_text(json.dumps(content))
    labels = read_labels(tmp_path / 'c.json')
    assert_same(labels, make([[0, 1], [0, 0]], ('a.jpg', 'b.jpg'), ('cat', 'owl')))


@pytest.mark.parametrize('style', ['coco', 'names'])
def test_unknown_where_there_is_no_place_for_it(tmp_path, style):
    labels = make(classes=('a', 'b', 'c'))
    path = tmp_path / ('x.json' if style == 'coco' else 'x.csv')
    options = dict(form='coco') if style == 'coco' else dict(style='names')
    with pytest.raises(
        ValueError, match=r"3 labels of 2 images.*'a.jpg', 'c'.*unknown='drop'"
    ):
        write_labels(labels, path, **options)
    assert not path.exists()
    write_labels(labels, path, unknown='negative', **options)
    assert_same(read_labels(path), make(np.maximum(TARGETS, 0), classes=labels.classes))
    written = write_labels(labels, path, unknown='drop', overwrite=True, **options)
    assert_same(read_labels(path), written)
    assert written.images == IMAGES[1:3]


def test_all_unknown():
    labels = make([[-1]], ('a.jpg',), ('cat',))
    with pytest.raises(ValueError, match='no image is left'):
        labels.without_unknown('drop')
    with pytest.raises(ValueError, match="unknown must be .* got 'maybe'"):
        labels.without_unknown('maybe')
    assert labels.without_unknown('negative').targets.nnz == 0
    # the original is left as it is
    assert labels.num_unknown == 1


def test_column_of_names(tmp_path):
    """Labels that no image has, and the order of labels, survive too."""
    labels = make([[0, 1, 0], [0, 0, 0]], IMAGES[:2], ('owl', 'cat', 'dog'))
    path = tmp_path / 'x.csv'
    write_labels(labels, path, style='names')
    assert path.read_text() == (
        '"image","labels"\n"a.jpg","cat"\n"my photos/b c.jpg",""\n'
    )
    assert_same(read_labels(path), labels)
    # a table of somebody else has no such file
    (tmp_path / 'x.csv.classes.txt').unlink()
    assert read_labels(path).classes == ('cat',)
    assert_same(read_labels(path, classes=labels.classes), labels)


@pytest.mark.parametrize('place', ['coco', 'csv', 'mmpretrain', 'voc'])
def test_classes_from_a_file(tmp_path, place):
    labels = known(make(classes=('a', 'b', 'c')))
    path = tmp_path / PLACES[place]
    write_labels(labels, path, form_of(place))
    (tmp_path / 'names.txt').write_text('a\r\nb\n\nc\n')
    assert_same(read_labels(path, classes=tmp_path / 'names.txt'), labels)


def test_rows_of_a_split(tmp_path):
    path = tmp_path / 'x.csv'
    path.write_text('image,cat,split\na.jpg,1,train\nb.jpg,,val\n')
    assert_same(read_labels(path, split='val'), make([[-1]], ('b.jpg',), ('cat',)))


@pytest.mark.parametrize(
    ('images', 'classes', 'options', 'message'),
    [
        (('a.png',), ('cat',), dict(path='voc'), "'a.png' does not end with"),
        (('.jpg',), ('cat',), dict(path='voc'), 'does not end'),
        (('/x/a.jpg',), ('cat',), dict(path='voc'), 'inside its folder'),
        (('../a.jpg',), ('cat',), dict(path='voc'), 'inside its folder'),
        (('x/./a.jpg',), ('cat',), dict(path='voc'), 'inside its folder'),
        (('a.jpg',), (' cat',), dict(path='voc'), 'begins or ends with a blank'),
        (('a .jpg',), ('cat',), dict(path='voc'), "image name 'a '"),
        (('a.jpg',), ('\ufffe',), dict(path='voc'), 'XML cannot hold'),
        (('a.jpg',), ('image',), dict(path='x.csv'), "label 'image'"),
        (('a.jpg',), ('labels',), dict(path='x.csv'), "label 'labels'"),
        (
            ('a.jpg',),
            ('cat',),
            dict(path='x.csv', image_column='cat'),
            "label 'cat'",
        ),
        (
            ('a.jpg',),
            ('__index_level_0__',),
            dict(path='x.parquet'),
            'an index of pandas',
        ),
        (('a.jpg',), ('a;b',), dict(path='x.csv', style='names'), "separator ';'"),
        (('a.jpg',), ('a ',), dict(path='x.csv', style='names'), 'blank'),
        (
            ('a.jpg',),
            ('labels',),
            dict(path='x.csv', style='names'),
            "label 'labels' is called like the column of names",
        ),
        (('a.jpg',), ('cat',), dict(path='x.csv', style='rows'), 'style must be'),
        (('a.jpg',), ('cat',), dict(path='x.json'), 'name it'),
        (('a.jpg',), ('cat',), dict(path='x.xml'), 'Cannot tell the form'),
        (('a.jpg',), ('cat',), dict(path='x', form='yolo'), 'form must be one of'),
        (('a.jpg',), ('cat',), dict(path='x.txt', form='table'), 'must end with'),
    ],
)
def test_what_a_form_cannot_hold(tmp_path, images, classes, options, message):
    labels = make([[1]], images, classes)
    path = tmp_path / options.pop('path')
    with pytest.raises(ValueError, match=message):
        write_labels(labels, path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('images', 'classes', 'message'),
    [
        (('a', 'a'), ('x', 'y'), "image path 'a' comes twice"),
        (('a', 'b'), ('x', 'x'), "label name 'x' comes twice"),
        (('a', 'b'), ('x', 'line\nbreak'), 'control characters'),
        (('a', 'b'), ('x', '\ud800'), 'no valid Unicode'),
        (('a', ''), ('x', 'y'), "Expected a image path|Expected a.* got ''"),
        (('a',), ('x', 'y'), r'shape \(1, 2\)'),
        ((), (), 'no label'),
    ],
)
def test_names_that_are_none(images, classes, message):
    with pytest.raises(ValueError, match=message):
        make([[1, 0], [0, 0]], images, classes)
    with pytest.raises(ValueError, match='no image'):
        make(np.zeros((0, 1)), (), ('cat',))


def test_nothing_is_overwritten(tmp_path):
    labels, other = make(), make(np.zeros((4, 3)))
    for place in ('x.csv', 'voc'):
        path = tmp_path / place
        write_labels(labels, path)
        # the same again is no harm
        write_labels(labels, path)
        with pytest.raises(FileExistsError, match='exists already.*overwrite=True'):
            write_labels(other, path)
        assert_same(read_labels(path), labels)
        write_labels(other, path, overwrite=True)
        assert_same(read_labels(path), other)
    assert not list(tmp_path.rglob('*.part'))


def test_second_split_in_the_folder_of_voc(tmp_path):
    labels = make()
    write_labels(labels.take([0, 2]), tmp_path, split='train')
    write_labels(labels.take([3, 1]), tmp_path, split='val')
    assert_same(read_labels(tmp_path, split='train'), labels.take([0, 2]))
    assert_same(read_labels(tmp_path, split='val'), labels.take([3, 1]))
    assert labels.take([3, 1]).images == (IMAGES[3], IMAGES[1])
    with pytest.raises(FileExistsError, match='classes.txt'):
        write_labels(make(classes=('a', 'b', 'c')), tmp_path, split='test')


def test_guess(tmp_path):
    assert guess_form('a.CSV') == guess_form('a.tsv') == guess_form('a.pq') == 'table'
    assert guess_form(tmp_path / 'new') == guess_form(tmp_path) == 'voc'
    assert guess_form('new.json') is None
    path = tmp_path / 'x.json'
    for form in ('coco', 'mmpretrain'):
        write_labels(known(make()), path, form, overwrite=True)
        assert guess_form(path) == form
    path.write_text('{"info": 1}')
    with pytest.raises(ValueError, match=r"x.json.*\['info'\].*MMPretrain's.*COCO's"):
        read_labels(path)
    path.write_text('{"info"')
    with pytest.raises(ValueError, match='x.json is not valid JSON'):
        read_labels(path)


@pytest.mark.parametrize('place', PLACES.values())
def test_nothing_to_read(tmp_path, place):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_labels(tmp_path / place, form_of(place))


@pytest.mark.parametrize(
    'content',
    [
        [],
        dict(metainfo={}, data_list=[dict(img_path='a', gt_label=[0])]),
        dict(metainfo=dict(classes=['x']), data_list=[dict(gt_label=[0])]),
        dict(metainfo=dict(classes=['x']), data_list=[dict(img_path='a')]),
        dict(
            metainfo=dict(classes=['x']), data_list=[dict(img_path='a', gt_label=[1])]
        ),
        dict(metainfo=dict(classes=['x']), data_list=[]),
        dict(metainfo=dict(classes=['x']), data_list=['a.jpg']),
    ],
)
def test_bad_json_of_mmpretrain(tmp_path, content):
    (tmp_path / 'x.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match="x.json is not as MMPretrain's"):
        read_labels(tmp_path / 'x.json', 'mmpretrain')


def test_real_voc_survives(tmp_path):
    root = Path(__file__).parents[3] / 'data/VOCdevkit/VOC2007'
    if not root.is_dir():
        pytest.skip('needs VOC2007 in data/VOCdevkit')
    labels = read_labels(root, split='val').take(range(200))
    assert labels.num_unknown > 0
    write_labels(labels, tmp_path / 'x.csv')
    write_labels(read_labels(tmp_path / 'x.csv'), tmp_path / 'voc')
    assert_same(read_labels(tmp_path / 'voc'), labels)


def test_strategy_is_odd():
    """Names of several scripts and with blanks are among those tried above."""
    seen = set()

    @settings(max_examples=60, deadline=None, database=None)
    @given(names())
    def look(name):
        seen.update(unicodedata.category(character) for character in name)

    look()
    assert len(seen) > 5


def test_classes_select_by_name(tmp_path):
    """Also of a file that numbers its labels itself."""
    path = tmp_path / 'labels.json'
    write_labels(make(), path, 'mmpretrain')
    chosen = (CLASSES[2], CLASSES[0])
    got = read_labels(path, classes=chosen)
    assert got.classes == chosen
    expected = np.array(TARGETS)[:, [2, 0]]
    np.testing.assert_array_equal(got.targets.toarray(), expected)
    with pytest.raises(ValueError, match=r"'classes' has \['owl'\]"):
        read_labels(path, classes=['owl'])


def test_paths_and_names_need_two_columns(tmp_path):
    with pytest.raises(ValueError, match='need two columns'):
        write_labels(
            known(make(classes=('a', 'b', 'c'))),
            tmp_path / 'labels.csv',
            style='names',
            label_column='image',
        )
    with pytest.raises(ValueError, match='Columns must be different'):
        TabularMultiLabel('labels.csv', image_column='a', label_column='a')


def test_split_of_a_form_without_splits(tmp_path):
    path = tmp_path / 'labels.json'
    write_labels(known(make()), path, 'coco')
    with pytest.raises(ValueError, match="got split 'val'"):
        read_labels(path, split='val')


def test_delimiter_and_unstated(tmp_path):
    path = tmp_path / 'labels.csv'
    path.write_text('image;cat;dog\na.jpg;1;\n')
    assert read_labels(path, delimiter=';').targets.toarray().tolist() == [[1, -1]]
    got = read_labels(path, delimiter=';', unstated_as=0)
    assert got.targets.toarray().tolist() == [[1, 0]]
    path.write_text('image;labels\na.jpg;cat,dog\nb.jpg;dog\n')
    got = read_labels(path, delimiter=';', separator=',', unstated_as=-1)
    assert got.classes == ('cat', 'dog')
    assert got.targets.toarray().tolist() == [[1, 1], [-1, 1]]


def test_many_names_in_one_field(tmp_path):
    classes = tuple(f'label number {i} of many' for i in range(9600))
    labels = make([[1] * len(classes)], ('a.jpg',), classes)
    write_labels(labels, tmp_path / 'labels.csv', style='names')
    assert_same(read_labels(tmp_path / 'labels.csv'), labels)


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / 'labels.csv').mkdir()
    (tmp_path / 'labels.csv/inside').touch()
    with pytest.raises(OSError, match='labels.csv'):
        write_labels(make(), tmp_path / 'labels.csv', overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['labels.csv']


def test_ten_thousand_labels(tmp_path):
    """No form takes time that grows with the square of their number."""
    names = tuple(f'label {i}' for i in range(10_000))
    targets = csr_array((np.ones(20, np.int8), (np.arange(20) // 2, np.arange(20))))
    targets.resize(10, 10_000)
    images = tuple(f'{i}.jpg' for i in range(10))
    labels = ImageLabels(names, images, targets)
    for name, options in {
        'a.csv': {},
        'b.csv': dict(style='names'),
        'c.json': dict(form='coco'),
        'd.json': dict(form='mmpretrain'),
    }.items():
        start = time.process_time()
        write_labels(labels, tmp_path / name, **options)
        found = read_labels(tmp_path / name).select(names[::-1])
        assert found.targets.sum() == 20
        assert time.process_time() - start < 3


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.JPG', None])
def test_voc_with_other_images_than_jpg(tmp_path, suffix):
    for folder in ('JPEGImages/sub', 'ImageSets/Main', 'Annotations/sub'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/train.txt').write_text('sub/a[1]\nb\n')
    for name in ('sub/a[1]', 'b'):
        (tmp_path / f'Annotations/{name}.xml').write_text('<annotation/>')
        if suffix is not None:
            (tmp_path / f'JPEGImages/{name}{suffix}').touch()
    # Notes beside the first image, and an image whose name begins like its name.
    (tmp_path / 'JPEGImages/sub/a[1].json').touch()
    (tmp_path / 'JPEGImages/sub/a[1].b.gif').touch()
    end = suffix or '.jpg'
    if suffix is None:
        (tmp_path / 'JPEGImages/sub/a[1].json').unlink()
    assert read_labels(tmp_path).images == (f'sub/a[1]{end}', f'b{end}')


@pytest.mark.parametrize('name', ['/nowhere/x', 'x' * 5000])
def test_odd_names_in_a_list_of_voc(name, tmp_path):
    """The data set says what is wrong with them, not the search for an ending."""
    (tmp_path / 'list.txt').write_text(name)
    assert _image_suffix(tmp_path, 'list.txt') == '.jpg'
