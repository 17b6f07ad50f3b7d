# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets.image_paths import ImagePaths


@pytest.mark.parametrize(
    ('folder', 'name', 'expected'),
    [
        ('images', 'a.jpg', 'images/a.jpg'),
        ('images', 'sub/../a..b.jpg', 'images/sub/../a..b.jpg'),
        ('/images/', '/images/sub/a.jpg', '/images/sub/a.jpg'),
        ('.', 'a.jpg', './a.jpg'),
        ('', '/etc/a.jpg', '/etc/a.jpg'),
        ('', '../a.jpg', '../a.jpg'),
        ('/images', 'file:///images/a%20b.jpg', '/images/a b.jpg'),
        ('http://host/images', 'sub/a.jpg', 'http://host/images/sub/a.jpg'),
    ],
)
def test_inside(folder, name, expected):
    assert ImagePaths(folder, False, 'a.csv').join(name) == expected


@pytest.mark.parametrize(
    ('folder', 'name'),
    [
        ('images', '/etc/a.jpg'),
        ('images', '../a.jpg'),
        ('images', 'sub/../../a.jpg'),
        ('images', '../images2/a.jpg'),
        ('/images', '/images2/a.jpg'),
        ('/images', 'file:///etc/a.jpg'),
        ('images', 'http://host/a.jpg'),
        ('http://host/images', '/a.jpg'),
        ('http://host/images', '../a.jpg'),
    ],
)
def test_outside(folder, name):
    with pytest.raises(ValueError, match='a.csv: .* leads out of .*allow_outside=True'):
        ImagePaths(folder, False, 'a.csv').join(name)
    assert ImagePaths(folder, True, 'a.csv').join(name)


def write(root, name):
    """One image in every form; the config of each dataset."""
    lists = root / 'ImageSets/Main'
    lists.mkdir(parents=True)
    (root / 'a.csv').write_text(f'image,cat\n{name}.jpg,1\n')
    coco = dict(
        images=[dict(id=1, file_name=f'{name}.jpg')],
        annotations=[dict(image_id=1, category_id=1)],
        categories=[dict(id=1, name='cat')],
    )
    (root / 'a.json').write_text(json.dumps(coco))
    (lists / 'train.txt').write_text(f'{name}\n')
    (root / 'Annotations').mkdir()
    (root / 'Annotations/a.xml').write_text('<annotation/>')
    (root / 'list.txt').write_text(f'{name}.jpg\n')
    (root / 'labels.json').write_text(json.dumps({f'{name}.jpg': [0]}))
    (root / 'nus.csv').write_text(
        f'filepath,label,split_name\n{name}.jpg,"[\'sky\']",train\n'
    )
    common = dict(data_root=str(root), data_prefix='images')
    return [
        dict(type='TabularMultiLabel', ann_file='a.csv', **common),
        dict(type='CocoMultiLabel', ann_file='a.json', **common),
        dict(
            type='VG500',
            ann_file='labels.json',
            image_list='list.txt',
            num_classes=1,
            **common,
        ),
        dict(type='NUSWIDE', ann_file='nus.csv', **common),
        dict(
            type='VOCMultiLabel',
            data_root=str(root),
            split='train',
            data_prefix=dict(img_path='images', ann_path='Annotations'),
        ),
    ]


@pytest.mark.parametrize('number', range(5))
def test_every_dataset(tmp_path, number):
    config = write(tmp_path, '../Annotations/a')[number]
    with pytest.raises(
        ValueError, match="Annotations/a.jpg', leads out of the images'"
    ):
        DATASETS.build(config)
    dataset = DATASETS.build(config | dict(allow_outside=True))
    path = dataset.get_data_info(0)['img_path']
    assert path == f'{tmp_path}/images/../Annotations/a.jpg'


@pytest.mark.parametrize('number', range(5))
def test_root_as_a_file_url(tmp_path, number):
    """As exports of annotation tools name folders."""
    config = write(tmp_path, 'a')[number]
    dataset = DATASETS.build(config | dict(data_root=tmp_path.as_uri()))
    assert dataset.get_data_info(0)['img_path'] == f'{tmp_path}/images/a.jpg'
    with pytest.raises(ValueError, match="begins with 'ftp', which cannot be read"):
        DATASETS.build(config | dict(data_root='ftp://host/data'))


def test_the_cache_keeps_nothing_that_was_refused(tmp_path):
    config = write(tmp_path, '../a')[0] | dict(cache_dir=str(tmp_path / 'cache'))
    os.utime(tmp_path / 'a.csv', (1e9, 1e9))
    DATASETS.build(config | dict(allow_outside=True))
    with pytest.raises(ValueError, match='leads out'):
        DATASETS.build(config)
