# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from mmpretrain.datasets import VOC
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets import VOCMultiLabel

# id: (name, difficult) of its boxes
BOXES = {
    '000005': [('person', 0), ('dog', 0), ('person', 1), ('person', 0)],
    '000007': [('aeroplane', 1)],
    '2008_000001': [('tvmonitor', 0), ('car', 1), ('bus', 0)],
    '000012': [],
}


def xml(boxes):
    objects = ''.join(
        f'<object><name>{name}</name><truncated>1</truncated>'
        + ('' if difficult is None else f'<difficult>{difficult}</difficult>')
        + '<bndbox><xmin>1</xmin></bndbox></object>'
        for name, difficult in boxes
    )
    return f'<annotation><folder>VOC2007</folder>{objects}</annotation>'


@pytest.fixture
def root(tmp_path):
    """A small folder in VOC's form."""
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    for img_id, boxes in BOXES.items():
        (tmp_path / f'Annotations/{img_id}.xml').write_text(xml(boxes))
    (tmp_path / 'ImageSets/Main/train.txt').write_text('\n'.join(BOXES) + '\n')
    return tmp_path


def build(root, **kwargs):
    kwargs = dict(data_root=str(root), split='train') | kwargs
    return DATASETS.build(dict(type='VOCMultiLabel', **kwargs))


def items(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


@pytest.mark.parametrize(
    'kwargs',
    [
        {},
        dict(split='', image_set_path='ImageSets/Main/train.txt'),
        dict(classes=['dog', 'bus', 'person', 'car'], unknown_names='skip'),
        dict(split='test', test_mode=True, data_prefix=dict(img_path='JPEGImages')),
    ],
    ids=['split', 'image_set_path', 'classes', 'without_annotations'],
)
def test_same_as_mmpretrain(root, kwargs):
    (root / 'ImageSets/Main/test.txt').write_text('000007\n000005')
    kwargs = dict(data_root=str(root), split='train') | kwargs
    ours = DATASETS.build(dict(type='VOCMultiLabel', **kwargs))
    kwargs.pop('unknown_names', None)
    theirs = VOC(**kwargs)
    assert ours.metainfo == theirs.metainfo
    for item in (expected := items(theirs)):
        for key in ('gt_label', 'gt_label_difficult'):
            item[key] = item[key] and sorted(item[key])
    assert items(ours) == expected
    assert len(ours) == (2 if kwargs['split'] == 'test' else 4)


def test_labels(root):
    dataset = build(root)
    assert isinstance(dataset, VOCMultiLabel)
    names = dataset.metainfo['classes']
    assert len(names) == 20
    for item, (img_id, boxes) in zip(items(dataset), BOXES.items(), strict=True):
        assert item['img_path'] == str(root / f'JPEGImages/{img_id}.jpg')
        for key, wanted in (('gt_label', 0), ('gt_label_difficult', 1)):
            expected = {name for name, difficult in boxes if difficult == wanted}
            assert [names[label] for label in item[key]] == sorted(expected)
    assert 'Boxes of unknown names: \tan error' in repr(dataset)


def test_images_go_through_the_pipeline(root):
    """A label that only difficult boxes carry is unknown."""
    image = np.full((4, 6, 3), 9, np.uint8)
    cv2.imwrite(str(root / 'JPEGImages/2008_000001.jpg'), image)
    pipeline = [
        dict(type='LoadImage'),
        dict(type='LabelsToTargets', num_classes=20),
        dict(type='PackInputs'),
    ]
    sample = build(root, pipeline=pipeline)[2]
    assert sample['inputs'].shape == (3, 4, 6)
    targets = sample['data_samples'].gt_score.tolist()
    # bus, car, tvmonitor
    assert (targets[5], targets[6], targets[19]) == (1, -1, 1)
    assert sum(map(abs, targets)) == 3


def test_without_difficult(root):
    path = root / 'Annotations/000007.xml'
    path.write_text(xml([('aeroplane', None), ('boat', 1)]))
    item = items(build(root))[1]
    assert (item['gt_label'], item['gt_label_difficult']) == ([0], [3])


def test_blank_lines(root):
    (root / 'ImageSets/Main/train.txt').write_text('\n000005 \r\n\n  \n000012\n\n')
    paths = [item['img_path'] for item in items(build(root))]
    assert paths == [str(root / f'JPEGImages/{i}.jpg') for i in ('000005', '000012')]


def test_unknown_name(root):
    (root / 'Annotations/000007.xml').write_text(xml([('boat', 0), ('Doge', 0)]))
    with pytest.raises(
        ValueError, match=r"000007.xml: object\[1\] .*'Doge', expected .*'tvmonitor'"
    ):
        build(root)
    dataset = build(root, unknown_names='skip')
    assert items(dataset)[1]['gt_label'] == [3]
    assert 'Boxes of unknown names: \tleft out' in repr(dataset)
    with pytest.raises(ValueError, match="'error' or 'skip', got 'ignore'"):
        build(root, unknown_names='ignore')


@pytest.mark.parametrize('unknown_names', ['error', 'skip'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'is not valid XML: no element found'),
        ('<annotation><object>', 'is not valid XML.*incomplete'),
        ('<annotation><object/></annotation>', r"object\[0\] has the name ''"),
        (xml([('', 0)]), r"object\[0\] has the name ''"),
        (xml([('dog', 0), ('cat', 'no')]), r"object\[1\] \('cat'\) .*>no<.* 0 or 1"),
        (xml([('dog', '')]), r"object\[0\] \('dog'\) .*><.* 0 or 1"),
    ],
)
def test_malformed_file(root, content, message, unknown_names):
    (root / 'Annotations/000012.xml').write_text(content)
    with pytest.raises(ValueError, match=f'000012.xml.*{message}'):
        build(root, unknown_names=unknown_names)


def test_missing_files(root):
    with pytest.raises(FileNotFoundError, match=r'Main/val.txt.*split'):
        build(root, split='val')
    with pytest.raises(FileNotFoundError, match=r'nowhere/ImageSets.*data_root'):
        build(root / 'nowhere')
    path = root / 'ImageSets/Main/train.txt'
    # a list of one class has a second column
    path.write_text('000005 -1\n')
    with pytest.raises(
        FileNotFoundError, match=r"000005 -1.xml', though .*train.txt lists '000005 -1'"
    ):
        build(root)
    path.write_text('\n\n')
    with pytest.raises(ValueError, match='train.txt is empty'):
        build(root)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(split='foo'), "image_set_path='ImageSets/Main/foo.txt'"),
        (dict(split=''), 'image_set_path.*got neither'),
        (dict(data_prefix=dict(img_path='JPEGImages')), 'ann_path'),
        (dict(data_prefix=dict(ann_path='Annotations')), "expected 'img_path'"),
        (dict(classes=['cat', 'cat']), "'cat' more than once"),
        (dict(classes=['cat', '']), "holds ''"),
        (dict(classes='cat'), r"no file 'cat'.*classes=\['cat'"),
    ],
)
def test_bad_options(root, options, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        build(root, **options)


def test_classes_of_a_file(root):
    path = root / 'classes.txt'
    path.write_text('﻿dog\r\nperson\r\n\r\n', encoding='utf-8')
    dataset = build(root, classes=str(path), unknown_names='skip')
    assert dataset.metainfo['classes'] == ('dog', 'person')


@pytest.mark.parametrize('encoding', ['GB2312', 'foo'])
def test_encoding_that_the_parser_does_not_know(root, encoding):
    path = root / 'Annotations/000007.xml'
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    with pytest.raises(ValueError, match='000007.xml is not valid XML'):
        build(root)


def test_folder_in_place_of_a_file(root):
    (root / 'Annotations/000007.xml').unlink()
    (root / 'Annotations/000007.xml').mkdir()
    with pytest.raises(ValueError, match='000007.xml is a folder'):
        build(root)


def test_name_that_no_file_can_have(root):
    (root / 'ImageSets/Main/train.txt').write_text('x' * 5000)
    with pytest.raises(ValueError, match=r"cannot be read: File name too long.* 'xxx"):
        items(build(root))


def test_list_in_another_encoding(root):
    (root / 'ImageSets/Main/train.txt').write_bytes('caf\xe9\n'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'train.txt is not UTF-8'):
        build(root)


@pytest.mark.parametrize('word', ['true', ' True ', 'FALSE', '0 '])
def test_difficult_as_a_word(root, word):
    path = root / 'Annotations/000007.xml'
    path.write_text(xml([('aeroplane', word)]))
    item = items(build(root))[1]
    key = 'gt_label_difficult' if 'rue' in word else 'gt_label'
    assert item[key] == [0]


OBJECTS = '<object><name>dog</name></object><object><name>cat</name></object>'


@pytest.mark.parametrize(
    'content',
    [
        f'<annotation xmlns="http://example.org/voc">{OBJECTS}</annotation>',
        f'<x:annotation xmlns:x="urn:x">{OBJECTS}</x:annotation>',
        f'<annotations>{OBJECTS}</annotations>',
    ],
)
def test_namespace_or_another_root(root, content):
    (root / 'Annotations/000007.xml').write_text(content)
    assert items(build(root))[1]['gt_label'] == [7, 11]


def test_all_elements_in_a_namespace(root):
    content = xml([('boat', 1), ('dog', 0)])
    content = content.replace('</', '<\\').replace('<', '<v:').replace('<v:\\', '</v:')
    content = content.replace('<v:annotation', '<v:annotation xmlns:v="urn:voc"', 1)
    (root / 'Annotations/000007.xml').write_text(content)
    item = items(build(root))[1]
    assert (item['gt_label'], item['gt_label_difficult']) == ([11], [3])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            f'<xml><annotation>{OBJECTS}</annotation></xml>',
            'root is <xml>.*0 of 2 objects',
        ),
        (f'<annotation><objects>{OBJECTS}</objects></annotation>', '0 of 2 objects'),
        (f'<annotation>{OBJECTS}<more>{OBJECTS}</more></annotation>', '2 of 4 objects'),
        (f'<annotation>{OBJECTS.replace("object", "Object")}</annotation>', '0 of 2'),
        ('<kml><Document/></kml>', 'has the root <kml>, expected <annotation>'),
    ],
)
def test_objects_that_are_elsewhere(root, content, message):
    """Their labels would be absent without a word."""
    (root / 'Annotations/000007.xml').write_text(content)
    with pytest.raises(ValueError, match=f'000007.xml.*{message}'):
        build(root)


def test_image_twice_in_a_list(root):
    (root / 'ImageSets/Main/train.txt').write_text('000005\n000007\n000005\n')
    with pytest.raises(ValueError, match="train.txt names '000005' 2 times"):
        build(root)
