# SPDX-License-Identifier: Apache-2.0
import copy
import json
import time

import cv2
import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets import CocoMultiLabel

# Ids with gaps and in another order than their rank, as in COCO's own files.
INSTANCES = {
    'info': {},
    'images': [
        {'id': 30, 'file_name': 'c.png', 'height': 4, 'width': 6},
        {'id': 10, 'file_name': 'a.png', 'height': 4, 'width': 6},
        {'id': 20, 'file_name': 'b.png', 'height': 4, 'width': 6},
        {'id': 40, 'file_name': 'd.png', 'height': 4, 'width': 6},
    ],
    'annotations': [
        {'id': 1, 'image_id': 10, 'category_id': 90, 'iscrowd': 0},
        {'id': 2, 'image_id': 10, 'category_id': 3, 'iscrowd': 0},
        {'id': 3, 'image_id': 10, 'category_id': 90, 'iscrowd': 0},
        {'id': 4, 'image_id': 20, 'category_id': 13, 'iscrowd': 1},
        {'id': 5, 'image_id': 30, 'category_id': 3, 'iscrowd': 0},
        {'id': 6, 'image_id': 30, 'category_id': 13, 'iscrowd': 1},
    ],
    'categories': [
        {'id': 90, 'name': 'toothbrush', 'supercategory': 'indoor'},
        {'id': 3, 'name': 'car', 'supercategory': 'vehicle'},
        {'id': 13, 'name': 'stop sign', 'supercategory': 'outdoor'},
    ],
}


@pytest.fixture
def instances():
    return copy.deepcopy(INSTANCES)


@pytest.fixture
def build(tmp_path):
    """Write a file below the data root and read it."""

    def _build(content, **kwargs):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / 'annotations').mkdir(exist_ok=True)
        (tmp_path / 'annotations' / 'instances.json').write_text(text)
        kwargs = {
            'ann_file': 'annotations/instances.json',
            'data_root': str(tmp_path),
            'data_prefix': 'images',
            **kwargs,
        }
        return DATASETS.build(dict(type='CocoMultiLabel', **kwargs))

    return _build


def labels_by_id(dataset):
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {item['img_id']: item['gt_label'] for item in items}


def test_labels_and_classes(build, instances, tmp_path):
    dataset = build(instances)
    assert isinstance(dataset, CocoMultiLabel)
    assert dataset.metainfo['classes'] == ('car', 'stop sign', 'toothbrush')
    # Image 40 has no box; the repeated box of image 10 counts once.
    assert labels_by_id(dataset) == {30: [0, 1], 10: [0, 2], 20: [1]}
    assert list(labels_by_id(dataset)) == [30, 10, 20], 'not in the order of the file'
    assert dataset.get_cat_ids(1) == [0, 2]
    info = dataset.get_data_info(0)
    assert info['img_path'] == str(tmp_path / 'images' / 'c.png')
    assert set(info) == {'img_path', 'img_id', 'gt_label', 'sample_idx'}
    assert all(type(label) is int for label in info['gt_label'])


def test_keep_unlabelled(build, instances):
    dataset = build(instances, keep_unlabelled=True)
    assert labels_by_id(dataset) == {30: [0, 1], 10: [0, 2], 20: [1], 40: []}


def test_without_crowd(build, instances):
    dataset = build(instances, with_crowd=False)
    # Image 20 has a crowd box only.
    assert labels_by_id(dataset) == {30: [0], 10: [0, 2]}
    dataset = build(instances, with_crowd=False, keep_unlabelled=True)
    assert labels_by_id(dataset)[20] == []


def test_iscrowd_may_be_left_out(build, instances):
    for annotation in instances['annotations']:
        del annotation['iscrowd']
    assert labels_by_id(build(instances, with_crowd=False))[20] == [1]


@pytest.mark.parametrize('by', ['classes', 'metainfo', 'file'])
def test_subset_of_classes(build, instances, tmp_path, by):
    names = ['toothbrush', 'car']
    if by == 'classes':
        kwargs = dict(classes=names)
    elif by == 'metainfo':
        kwargs = dict(metainfo=dict(classes=names))
    else:
        (tmp_path / 'names.txt').write_text('\n'.join(names))
        kwargs = dict(classes=str(tmp_path / 'names.txt'))
    dataset = build(instances, **kwargs)
    assert dataset.metainfo['classes'] == ('toothbrush', 'car')
    assert labels_by_id(dataset) == {30: [1], 10: [0, 1]}


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (['car', 'bicycle'], r"'classes' has \['bicycle'\], expected .*'stop sign'"),
        (['car', 'car'], "'classes' has 'car' more than once"),
        ([], "'classes' is empty"),
    ],
)
def test_bad_classes(build, instances, classes, message):
    with pytest.raises(ValueError, match=message):
        build(instances, classes=classes)


def test_classes_must_not_be_one_string(build, instances):
    with pytest.raises(ValueError, match="classes is the string 'car'"):
        build(instances, metainfo=dict(classes='car'))


@pytest.mark.parametrize('prefix', ['images', {'img_path': 'images'}])
def test_images_go_through_the_pipeline(build, instances, tmp_path, prefix):
    (tmp_path / 'images').mkdir()
    for value, name in enumerate('abc'):
        image = np.full((4, 6, 3), value, np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / f'{name}.png'), image)
    dataset = build(
        instances,
        data_prefix=prefix,
        test_mode=True,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=3),
            dict(type='PackInputs'),
        ],
    )
    sample = dataset[1]
    assert sample['inputs'].shape == (3, 4, 6)
    assert (sample['inputs'] == 0).all(), 'not the image called a.png'
    assert sample['data_samples'].gt_score.tolist() == [1, 0, 1]
    assert sample['data_samples'].gt_label.tolist() == [0, 2]


def test_an_image_without_labels_can_be_packed(build, instances, tmp_path):
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images' / 'd.png'), np.zeros((4, 6, 3), np.uint8))
    pipeline = [
        dict(type='LoadImage'),
        dict(type='LabelsToTargets', num_classes=3),
        dict(type='PackInputs'),
    ]
    dataset = build(instances, keep_unlabelled=True, pipeline=pipeline)
    sample = dataset[3]['data_samples']
    assert sample.gt_score.tolist() == [0, 0, 0]
    assert sample.gt_label.numel() == 0 and not sample.gt_label.is_floating_point()


def test_usual_arguments(build, instances):
    assert len(build(instances, indices=2)) == 2
    lazy = build(instances, lazy_init=True)
    assert 'Haven' in repr(lazy)
    lazy.full_init()
    assert len(lazy) == 3
    assert 'Unlabelled images: \tleft out' in repr(lazy)


def test_images_are_not_looked_at_on_loading(build, instances, tmp_path):
    assert not (tmp_path / 'images').exists()
    assert len(build(instances, data_prefix='images')) == 3


def test_no_annotation_file(build, instances):
    with pytest.raises(
        FileNotFoundError, match=r'annotations.elsewhere\.json.*ann_file'
    ):
        build(instances, ann_file='annotations/elsewhere.json')


def test_annotation_file_is_a_folder(build, instances):
    with pytest.raises(ValueError, match='annotations is a folder'):
        build(instances, ann_file='annotations')


def test_prefix_without_img_path(build, instances):
    with pytest.raises(ValueError, match='img_path'):
        build(instances, data_prefix=dict(img='images'))


@pytest.mark.parametrize('text', ['{"images": [', ''])
def test_broken_json(build, text):
    with pytest.raises(ValueError, match=r'instances\.json is not valid JSON'):
        build(text)


def test_json_of_another_kind(build):
    with pytest.raises(ValueError, match=r'instances\.json .* holds a list'):
        build([1, 2])


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_missing_or_wrong_key(build, instances, key):
    instances[key] = {}
    with pytest.raises(ValueError, match=rf"instances\.json .*'{key}', got a dict"):
        build(instances)
    del instances[key]
    with pytest.raises(ValueError, match=rf"instances\.json .*'{key}', got only"):
        build(instances)


@pytest.mark.parametrize(
    ('part', 'key'),
    [
        ('images', 'id'),
        ('images', 'file_name'),
        ('annotations', 'image_id'),
        ('annotations', 'category_id'),
        ('categories', 'id'),
        ('categories', 'name'),
    ],
)
def test_entry_without_a_needed_key(build, instances, part, key):
    message = rf"instances\.json: .*'{key}' in {part}\[1\]"
    instances[part][1][key] = None
    with pytest.raises(ValueError, match=message):
        build(instances)
    del instances[part][1][key]
    with pytest.raises(ValueError, match=message):
        build(instances)
    instances[part][1] = 'text'
    with pytest.raises(ValueError, match=rf'{part}\[1\] is a str'):
        build(instances)


@pytest.mark.parametrize('value', ['', 7, True])
def test_file_name_that_is_none(build, instances, value):
    instances['images'][1]['file_name'] = value
    with pytest.raises(ValueError, match=r"path of an image under 'file_name' in im"):
        build(instances)


def test_file_name_twice(build, instances):
    instances['images'][1]['file_name'] = instances['images'][0]['file_name']
    with pytest.raises(ValueError, match=r"'images' has the file .* twice"):
        build(instances)


def test_numbers_as_names(build, instances):
    """As they would stand in a file of classes."""
    instances['categories'][0]['name'] = 1
    assert '1' in build(instances).metainfo['classes']
    instances['categories'][0]['name'] = True
    with pytest.raises(ValueError, match="number or a string under 'name'"):
        build(instances)


@pytest.mark.parametrize('key', ['image_id', 'category_id'])
def test_annotation_of_something_unknown(build, instances, key):
    instances['annotations'][4][key] = 77
    with pytest.raises(
        ValueError, match=rf'annotations\[4\] \(id 5\) has {key} 77.*none of the'
    ):
        build(instances)


def test_duplicate_category_id(build, instances):
    instances['categories'][2]['id'] = 3
    with pytest.raises(ValueError, match="id 3 twice, for 'car' and 'stop sign'"):
        build(instances)


def test_duplicate_category_name(build, instances):
    instances['categories'][2]['name'] = 'car'
    with pytest.raises(ValueError, match="name 'car' twice"):
        build(instances)


def test_duplicate_image_id(build, instances):
    instances['images'][2]['id'] = 10
    with pytest.raises(ValueError, match=r'id 10 twice, for a\.png and b\.png'):
        build(instances)


def test_no_image_left(build, instances):
    instances['annotations'] = []
    with pytest.raises(ValueError, match='4 images and 0 annotations'):
        build(instances)
    instances['images'] = []
    with pytest.raises(ValueError, match='no image is left'):
        build(instances, keep_unlabelled=True)


def crowd(instances, value):
    instances['annotations'][3]['iscrowd'] = value
    return instances


@pytest.mark.parametrize(
    ('value', 'is_crowd'),
    [('0', 0), ('1', 1), ('false', 0), ('True', 1), (False, 0), (True, 1), (0.0, 0)]
    + [(None, 0)],
)
def test_crowd_as_other_tools_write_it(build, instances, value, is_crowd):
    """Image 20 has the box of annotations[3] only."""
    dataset = build(crowd(instances, value), with_crowd=False)
    found = {dataset.get_data_info(i)['img_id'] for i in range(len(dataset))}
    assert found == ({10, 30} if is_crowd else {10, 20, 30})


@pytest.mark.parametrize('value', ['maybe', 2, [], {}, '', 0.5])
def test_crowd_that_is_neither(build, instances, value):
    message = r'annotations\[3\] \(id 4\) has iscrowd .*, expected 0 or 1'
    with pytest.raises(ValueError, match=message):
        build(crowd(instances, value), with_crowd=False)
    assert len(build(instances)) == 3


def paths(dataset):
    return [dataset.get_data_info(i)['img_path'][-5:] for i in range(len(dataset))]


@pytest.mark.parametrize('change', ['nan', 'mark', 'float', 'all', 'utf-16'])
def test_json_of_other_tools(build, instances, tmp_path, change):
    """NaN of pandas, byte order marks of Windows, ids that became 1.0."""
    if change in ('nan', 'all'):
        instances['annotations'][0]['area'] = float('nan')
    if change in ('float', 'all'):
        for entry in instances['annotations']:
            entry['image_id'] = float(entry['image_id'])
            entry['category_id'] = float(entry['category_id'])
    content = json.dumps(instances)
    dataset = build(content)
    encoding = {'mark': 'utf-8-sig', 'all': 'utf-8-sig'}.get(change, 'utf-8')
    encoding = 'utf-16' if change == 'utf-16' else encoding
    (tmp_path / 'annotations/instances.json').write_text(content, encoding=encoding)
    dataset = DATASETS.build(
        dict(
            type='CocoMultiLabel',
            ann_file=str(tmp_path / 'annotations/instances.json'),
        )
    )
    assert paths(dataset) == ['c.png', 'a.png', 'b.png']
    assert dataset.get_data_info(1)['gt_label'] == [0, 2]
    assert isinstance(dataset.get_data_info(1)['img_id'], int)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('image_id', '10', r"'10' \(text\), but the id under 'images' is 10 \(a num"),
        ('category_id', '90', r"'90' \(text\), but the id under 'categories' is 90"),
        ('image_id', '010x', "'010x', which is none of the 4 ids under 'images'"),
        ('image_id', '9' * 5000, 'characters.* none of the 4 ids'),
        ('image_id', 1.5, r"expected a number or a string under 'image_id' .* got 1.5"),
        ('image_id', float('inf'), 'got inf'),
    ],
)
def test_ids_of_two_types(build, instances, key, value, message):
    instances['annotations'][0][key] = value
    with pytest.raises(ValueError, match=message) as error:
        build(instances)
    assert len(str(error.value)) < 500


def test_number_where_the_images_have_text(build, instances):
    for image in instances['images']:
        image['id'] = str(image['id'])
    message = (
        r"has image_id 10 \(a number\), but the id under 'images' is '10' \(text\)"
    )
    with pytest.raises(ValueError, match=message):
        build(instances)


@pytest.mark.parametrize('where', ['alone', 'beside'])
def test_nested_too_deeply(build, where):
    content = '[' * 100_000 + ']' * 100_000
    if where == 'beside':
        content = f'{{"images": [], "annotations": [], "categories": {content}}}'
    with pytest.raises(ValueError, match='instances.json is nested too deeply'):
        build(content)


def test_number_of_many_digits(build, instances):
    content = json.dumps(instances).replace('"id": 30', f'"id": {"1" * 5000}')
    with pytest.raises(ValueError, match='instances.json cannot be read.*digits'):
        build(content)


def test_many_categories(build, instances):
    """Reading them takes no time that grows with the square of their number."""
    categories = instances['categories']

    def seconds(number):
        instances['categories'] = [
            *categories,
            *(dict(id=100 + i, name=f'label {i}') for i in range(number)),
        ]
        content = json.dumps(instances)
        start = time.process_time()
        assert len(build(content).metainfo['classes']) == number + 3
        return time.process_time() - start

    few, many = (min(seconds(n) for _ in range(2)) for n in (1000, 10_000))
    # 10 times as many; the square would be 100 times.
    assert many < 40 * few
