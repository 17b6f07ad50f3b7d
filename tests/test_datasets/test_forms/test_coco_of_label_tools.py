# SPDX-License-Identifier: Apache-2.0
"""COCO files with what CVAT and Roboflow add, by their documented forms."""

import json

import pytest

from mlcl_plugin.commands import main
from mlcl_plugin.datasets.forms import guess_form, read_labels

BOX = dict(bbox=[4.0, 3.0, 20.5, 10.0], area=205.0, segmentation=[], iscrowd=0)
CVAT = dict(
    licenses=[dict(name='', id=0, url='')],
    info=dict(
        contributor='', date_created='', description='', url='', version='', year=''
    ),
    categories=[
        dict(id=1, name='cat', supercategory=''),
        dict(id=2, name='dog', supercategory=''),
    ],
    images=[
        dict(
            id=number,
            width=64,
            height=48,
            file_name=f'camera/frame_{number:06}.PNG',
            license=0,
            flickr_url='',
            coco_url='',
            date_captured=0,
        )
        for number in (1, 2, 3)
    ],
    annotations=[
        BOX
        | dict(
            id=number,
            image_id=image,
            category_id=category,
            attributes=dict(occluded=False, rotation=0.0, track_id=0, keyframe=True),
        )
        for number, (image, category) in enumerate([(1, 1), (1, 2), (1, 2), (3, 2)], 1)
    ],
)
# The first category is the project; the others name it as their supercategory.
ROBOFLOW = dict(
    info=dict(year='2026', version='3', description='Exported from roboflow.com'),
    licenses=[
        dict(id=1, url='https://creativecommons.org/licenses/by/4.0/', name='CC')
    ],
    categories=[
        dict(id=0, name='animals', supercategory='none'),
        dict(id=1, name='cat', supercategory='animals'),
        dict(id=2, name='dog', supercategory='animals'),
    ],
    images=[
        dict(
            id=number,
            license=1,
            file_name=f'{number}_jpg.rf.0a1b2c3d4e5f.jpg',
            height=640,
            width=640,
            date_captured='2026-11-29T10:00:00+00:00',
            extra=dict(name=f'{number}.jpg'),
        )
        for number in range(3)
    ],
    annotations=[
        BOX | dict(id=0, image_id=0, category_id=1),
        BOX | dict(id=1, image_id=0, category_id=2),
        BOX | dict(id=2, image_id=2, category_id=2),
    ],
)
WANTED = [[1, 1], [0, 0], [0, 1]]


def test_cvat(tmp_path):
    """Attributes, several boxes of a label, an image without a box."""
    path = tmp_path / 'instances_default.json'
    path.write_text(json.dumps(CVAT))
    assert guess_form(path) == 'coco'
    labels = read_labels(path)
    assert labels.classes == ('cat', 'dog')
    assert labels.images == tuple(f'camera/frame_{n:06}.PNG' for n in (1, 2, 3))
    assert labels.targets.toarray().tolist() == WANTED


def test_roboflow(tmp_path, monkeypatch):
    """The category of the project is named, and left out by classes."""
    path = tmp_path / '_annotations.coco.json'
    path.write_text(json.dumps(ROBOFLOW))
    said = []
    monkeypatch.setattr(
        'mlcl_plugin.datasets.coco_multi_label.print_log',
        lambda text, **kwargs: said.append(text),
    )
    labels = read_labels(path)
    assert len(said) == 1 and "the labels ['animals'] are the supercategory" in said[0]
    assert labels.classes == ('animals', 'cat', 'dog')
    assert labels.targets.toarray()[:, 1:].tolist() == WANTED
    (tmp_path / 'classes.txt').write_text('cat\ndog\n')
    table = tmp_path / 'x.csv'
    main(['convert', str(path), str(table), '--classes', str(tmp_path / 'classes.txt')])
    read = read_labels(table)
    assert read.images == tuple(f'{n}_jpg.rf.0a1b2c3d4e5f.jpg' for n in range(3))
    assert read.targets.toarray().tolist() == WANTED


@pytest.mark.parametrize('field', ['file_name', 'id'])
def test_roboflow_without_a_field(tmp_path, field):
    content = json.loads(json.dumps(ROBOFLOW))
    del content['images'][1][field]
    path = tmp_path / '_annotations.coco.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf'{field}.* in images\[1\]'):
        read_labels(path)
