# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets.label_spelling import near_same, show_group, spelling_key


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('cat', 'CAT'),
        ('cat', ' cat '),
        ('caf\u00e9', 'cafe\u0301'),
        ('traffic light', 'traffic\u00a0light'),
        ('traffic  light', 'Traffic-Light'),
        ('\ufeffcat', 'cat'),
        ('ca\u200bt', 'cat'),
        ('ﬁsh', 'fish'),
        ('Straße', 'STRASSE'),
        ('ｃａｔ', 'cat'),
    ],
)
def test_same_but_for_spelling(one, other):
    assert near_same(['owl', one, 'dog', other]) == [[one, other]]


def test_others_are_not_the_same():
    names = ['cat', 'cats', 'c at', 'act', 'C#', 'C', 'C++', '-', '_', ' ', '1', '10']
    assert near_same(names) == []


@given(st.lists(st.text(max_size=4), unique=True, max_size=8))
def test_groups_are_those_of_equal_keys(names):
    groups = near_same(names)
    grouped = list(itertools.chain(*groups))
    assert len(grouped) == len(set(grouped)) and set(grouped) <= set(names)
    for group in groups:
        assert len({spelling_key(name) for name in group}) == 1
    alone = [name for name in names if name not in grouped]
    assert len({spelling_key(name) for name in alone}) == len(alone)


@given(st.lists(st.text('aAé\u0301e \xa0', max_size=4), unique=True, min_size=2))
def test_shown_names_can_be_told_apart(names):
    assert len({show_group([name, *names]).split(' = ')[0] for name in names}) > 1


@pytest.fixture
def log(monkeypatch):
    """The warnings that are logged."""
    found = []

    def record(message, logger=None, level=logging.INFO):
        if level == logging.WARNING:
            found.append(message)

    for module in ('label_spelling', 'coco_multi_label'):
        monkeypatch.setattr(f'mlcl_plugin.datasets.{module}.print_log', record)
    return found


def test_names_left_out_of_a_table(tmp_path, log):
    table = tmp_path / 't.csv'
    table.write_text('image,labels\n1.jpg,Cat;owl\n2.jpg,dog; D-O-G\n')
    kwargs = dict(type='TabularMultiLabel', ann_file=str(table))
    kwargs |= dict(classes=['cat', 'dog', 'd o g'], unknown_names='skip')
    DATASETS.build(kwargs)
    assert len(log) == 1
    assert "left out are the names ['Cat', 'D-O-G']" in log[0]
    assert "differ from ['cat', 'd o g'] only" in log[0]
    log.clear()
    DATASETS.build(kwargs | dict(classes=['Cat', 'dog', 'D-O-G']))
    assert log == []


def test_names_left_out_of_voc(tmp_path, log):
    for folder in ('Annotations', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/train.txt').write_text('1\n')
    boxes = ''.join(f'<object><name>{n}</name></object>' for n in ('Dog', 'cat', 'owl'))
    (tmp_path / 'Annotations/1.xml').write_text(f'<annotation>{boxes}</annotation>')
    DATASETS.build(
        dict(
            type='VOCMultiLabel',
            data_root=str(tmp_path),
            split='train',
            classes=['cat', 'dog'],
            unknown_names='skip',
        )
    )
    assert len(log) == 1 and "names ['Dog'], which" in log[0]


@pytest.mark.parametrize('present', [False, True])
def test_supercategory_that_is_a_category(tmp_path, log, present):
    """As exports of annotation tools have it: a group of all, with no image."""
    boxes = [dict(image_id=1, category_id=1), dict(image_id=1, category_id=2)]
    content = dict(
        images=[dict(id=1, file_name='a.jpg')],
        annotations=boxes + present * [dict(image_id=1, category_id=0)],
        categories=[
            dict(id=0, name='animals', supercategory='none'),
            dict(id=1, name='cat', supercategory='animals'),
            dict(id=2, name='dog', supercategory='animals'),
            dict(id=3, name='car', supercategory='car'),
        ],
    )
    (tmp_path / 'a.json').write_text(json.dumps(content))
    kwargs = dict(type='CocoMultiLabel', ann_file=str(tmp_path / 'a.json'))
    DATASETS.build(kwargs)
    assert len(log) == (not present)
    assert present or "labels ['animals'] are the supercategory" in log[0]
    log.clear()
    if not present:
        DATASETS.build(kwargs | dict(classes=['cat', 'dog']))
    assert log == []
