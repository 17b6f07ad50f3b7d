# SPDX-License-Identifier: Apache-2.0
import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from mlcl_plugin.commands import main
from mlcl_plugin.fit.read_data import part_of, read_photographs
from mlcl_plugin.fit.split_data import split_photographs


def picture(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((8, 8, 3), number % 256, np.uint8)
    image[number % 8, number // 8 % 8] = 255
    cv2.imwrite(str(path), image)


def targets_of(data):
    dense = data.labels.targets.toarray()
    return {name: row.tolist() for name, row in zip(data.labels.images, dense)}


def write_table(folder, text, images=('a.png', 'b.png', 'c.png')):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(images):
        picture(folder / 'images' / name, number)
    (folder / 'labels.csv').write_text(text)
    return folder / 'labels.csv'


def test_a_table_with_a_folder_of_images_beside_it(tmp_path):
    table = write_table(tmp_path, 'image,cat,dog\na.png,1,0\nb.png,0,\nc.png,1,1\n')
    data = read_photographs(table)
    assert data.labels.classes == ('cat', 'dog')
    assert targets_of(data) == {'a.png': [1, 0], 'b.png': [0, -1], 'c.png': [1, 1]}
    assert data.root == tmp_path / 'images'
    assert set(data.parts) == {'train'}


def test_columns_of_parts_and_groups_are_no_labels(tmp_path):
    table = write_table(
        tmp_path,
        'file_name,split,cat,event,dog\n'
        'a.png,train,1,x,0\nb.png,Validation,0,y,1\nc.png,test,1,y,1\n',
    )
    data = read_photographs(table, group='event')
    assert data.labels.classes == ('cat', 'dog')
    assert data.parts.tolist() == ['train', 'val', 'test']
    assert data.groups.tolist() == ['x', 'y', 'y']
    parts = split_photographs(data)
    assert {name: part.images for name, part in parts.parts.items()} == {
        'train': ('a.png',),
        'val': ('b.png',),
        'test': ('c.png',),
    }
    assert not parts.divided


def test_a_column_of_names(tmp_path):
    table = write_table(
        tmp_path, 'image,labels,split\na.png,dog,train\nb.png,cat;dog,val\nc.png,,val\n'
    )
    data = read_photographs(table)
    assert data.labels.classes == ('cat', 'dog')
    assert targets_of(data) == {'a.png': [0, 1], 'b.png': [1, 1], 'c.png': [0, 0]}


def test_chosen_labels(tmp_path):
    table = write_table(tmp_path, 'image,cat,dog\na.png,1,0\nb.png,0,1\nc.png,1,1\n')
    assert read_photographs(table, classes=['dog']).labels.classes == ('dog',)


def test_a_folder_per_label_with_copies(tmp_path):
    for label, name, number in (('cat', 'a', 0), ('dog', 'b', 1), ('dog', 'a', 0)):
        picture(tmp_path / 'photos' / label / f'{name}.png', number)
    (tmp_path / 'photos' / 'empty').mkdir()
    data = read_photographs(tmp_path / 'photos')
    assert targets_of(data) == {'cat/a.png': [1, 1], 'dog/b.png': [0, 1]}


def test_two_photographs_of_one_name_are_refused(tmp_path):
    picture(tmp_path / 'cat' / 'a.png', 0)
    picture(tmp_path / 'dog' / 'a.png', 1)
    with pytest.raises(ValueError, match='same name, but not the same content'):
        read_photographs(tmp_path)


def test_folders_of_parts(tmp_path):
    picture(tmp_path / 'train' / 'cat' / 'a.png', 0)
    picture(tmp_path / 'train' / 'dog' / 'b.png', 1)
    picture(tmp_path / 'valid' / 'dog' / 'c.png', 2)
    data = read_photographs(tmp_path)
    assert data.labels.classes == ('cat', 'dog')
    assert targets_of(data) == {
        'train/cat/a.png': [1, 0],
        'train/dog/b.png': [0, 1],
        'valid/dog/c.png': [0, 1],
    }
    assert data.parts.tolist() == ['train', 'train', 'val']


@pytest.mark.parametrize(
    ('rows', 'wanted'),
    [
        (
            [
                dict(file_name='a.png', labels=['dog', 'cat']),
                dict(file_name='b.png', labels=[]),
            ],
            {'a.png': [1, 1], 'b.png': [0, 0]},
        ),
        (
            [
                dict(file_name='a.png', cat=True, dog=0),
                dict(file_name='b.png', cat=None, dog=1),
            ],
            {'a.png': [1, 0], 'b.png': [-1, 1]},
        ),
    ],
)
def test_metadata_of_an_image_folder(tmp_path, rows, wanted):
    for number, name in enumerate(('a.png', 'b.png')):
        picture(tmp_path / name, number)
    text = '\n'.join(map(json.dumps, rows))
    (tmp_path / 'metadata.jsonl').write_text(text)
    data = read_photographs(tmp_path)
    assert data.labels.classes == ('cat', 'dog')
    assert targets_of(data) == wanted


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('[1]', 'expected a JSON object'),
        ('{"labels": ["cat"]}', "line 1 has no 'file_name'"),
        ('{"file_name": "a.png", "labels": 3}', 'a name or a list of names'),
        ('{"file_name": "a.png", "cat": "yes"}', "'cat' must be 1, 0"),
        ('', 'names no image'),
    ],
)
def test_wrong_metadata(tmp_path, line, message):
    (tmp_path / 'metadata.jsonl').write_text(line)
    with pytest.raises(ValueError, match=message):
        read_photographs(tmp_path)


def test_coco(tiny_coco):
    data = read_photographs(tiny_coco / 'train.json', tiny_coco / 'train')
    assert data.labels.classes == ('cat', 'dog', 'owl')
    assert len(data.labels.images) == 8
    # The folder of the same name beside the file.
    assert read_photographs(tiny_coco / 'train.json').root == tiny_coco / 'train'


def test_a_table_with_another_separator(tmp_path):
    """The command of the message makes a table that is read."""
    table = write_table(tmp_path, 'image;cat;dog\na.png;1;0\nb.png;0;1\n')
    with pytest.raises(ValueError, match="separator seems to be ';'") as error:
        read_photographs(table)
    command = shlex.split(str(error.value).partition('mlcl ')[2])
    assert main(command) == 0
    data = read_photographs(tmp_path / 'labels_commas.csv')
    assert data.labels.classes == ('cat', 'dog')


def test_the_folder_of_coco(tmp_path):
    for name in ('train2017/a.png', 'annotations/instances_train2017.json'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text('{}')
    with pytest.raises(ValueError, match=r"such as '.*/instances_train2017\.json'"):
        read_photographs(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='expected a table, a JSON file'):
        read_photographs(tmp_path / 'no.csv')
    table = write_table(tmp_path, 'image,cat\na.png,1\nz.png,0\n')
    with pytest.raises(FileNotFoundError, match=r'1 of the 2 images .*z\.png.*images='):
        read_photographs(table)
    (tmp_path / 'photo.csv').write_text('photo,cat\na.png,1\n')
    with pytest.raises(ValueError, match='no column of image paths'):
        read_photographs(tmp_path / 'photo.csv')
    with pytest.raises(ValueError, match="no column group='event'"):
        read_photographs(table, group='event')
    table.write_text('image,cat,split\na.png,1,mine\n')
    with pytest.raises(ValueError, match="'split' holds 'mine'"):
        read_photographs(table)


def make_many(tmp_path, number=40, extra=''):
    rows = [f'image,cat,dog,event{extra}']
    for index in range(number):
        picture(tmp_path / f'{index:02}.png', index)
        rows.append(f'{index:02}.png,{index % 2},{int(index % 5 == 0)},{index // 4}')
    table = tmp_path / 'labels.csv'
    table.write_text('\n'.join(rows))
    return table


def test_division_by_labels_and_by_groups(tmp_path):
    table = make_many(tmp_path)
    data = read_photographs(table, group='event')
    grouped = split_photographs(data, 0.25)
    events = [
        {int(image[:2]) // 4 for image in grouped.parts[part].images}
        for part in ('train', 'val')
    ]
    assert not events[0] & events[1]
    assert 4 <= len(grouped.parts['val'].images) <= 16
    plain = read_photographs(table, classes=['cat', 'dog'])
    parts = split_photographs(plain, 0.25, seed=3)
    assert parts.divided
    assert len(parts.parts['val'].images) == 10
    assert parts.parts['val'].targets.toarray().sum(0).tolist() == [5, 2]
    again = split_photographs(plain, 0.25, seed=3)
    assert again.parts['val'].images == parts.parts['val'].images


@pytest.mark.parametrize('seed', range(3))
def test_copies_are_drawn_together(tmp_path, seed):
    """Otherwise a photograph that was trained on would judge the model."""
    names = [f'{number}.png' for number in range(12)]
    text = ''.join(f'{name},{i % 2},1\n' for i, name in enumerate(names))
    table = write_table(tmp_path, f'image,cat,dog\n{text}', names)
    for number in range(0, 12, 2):
        content = (tmp_path / f'images/{number}.png').read_bytes()
        (tmp_path / f'images/{number + 1}.png').write_bytes(content)
    parts = split_photographs(read_photographs(table), val=0.4, seed=seed)
    val = {int(Path(name).stem) for name in parts.parts['val'].images}
    assert val and all(number ^ 1 in val for number in val)
    assert '6 of 12 images are copies of another (same bytes)' in ' '.join(parts.notes)


def test_other_sources_for_validation_and_test(tmp_path):
    first = read_photographs(
        write_table(tmp_path / 'x', 'image,cat\na.png,1\nb.png,0\n', ('a.png', 'b.png'))
    )
    other = write_table(tmp_path / 'y', 'image,cat\na.png,1\n', ('a.png',))
    parts = split_photographs(first, val=other)
    assert parts.root == tmp_path
    assert parts.parts['val'].images == ('y/images/a.png',)
    with pytest.raises(ValueError, match='in both train and val'):
        split_photographs(first, val=tmp_path / 'x' / 'labels.csv')


def test_two_validation_parts_are_refused(tmp_path):
    table = write_table(
        tmp_path, 'image,cat,split\na.png,1,train\nb.png,0,val\nc.png,1,train\n'
    )
    data = read_photographs(table)
    with pytest.raises(ValueError, match='would be a second one'):
        split_photographs(data, val=table)
    with pytest.raises(ValueError, match=r'val=0\.2 has no use'):
        split_photographs(data, val=0.2)


def test_names_of_parts():
    assert [part_of(n) for n in ('Train', ' dev ', 'testing', 'cat')] == [
        'train',
        'val',
        'test',
        None,
    ]
