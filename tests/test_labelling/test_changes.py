# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pandas as pd
import pytest

from mlcl_plugin.fit.read_data import read_photographs
from mlcl_plugin.labelling.changes import (
    Change,
    check_corrected,
    keep_source,
    read_confirmed,
    write_changes,
    write_corrected,
)
from mlcl_plugin.labelling.hand_work import check_untouched
from tests.test_fit.test_read_data import picture, write_table

COLUMNS = 'image,note,cat,dog\na.png,"x, y",1,0\nb.png,,0,\nc.png,z,1,1\n'
NAMES = 'image,labels,note\na.png,cat; dog,x\nb.png,,y\nc.png,dog,z\n'


def test_a_table_keeps_its_rows_and_other_columns(tmp_path):
    table = write_table(tmp_path, COLUMNS)
    data = read_photographs(table, classes=['cat', 'dog'])
    path = write_corrected(data, np.array([[0, 1], [2, 0]]), tmp_path / 'out')
    assert path.read_text() == (
        'image,note,cat,dog\na.png,"x, y",1,1\nb.png,,0,\nc.png,z,0,1\n'
    )
    assert table.read_text() == COLUMNS


def test_a_column_of_names(tmp_path):
    data = read_photographs(write_table(tmp_path, NAMES))
    path = write_corrected(data, np.array([[0, 0], [1, 1]]), tmp_path / 'out')
    assert path.read_text() == (
        'image,labels,note\na.png,dog,x\nb.png,dog,y\nc.png,dog,z\n'
    )


def test_a_folder_per_label_becomes_a_table(tmp_path):
    for number, name in enumerate(('cat/1.png', 'cat/2.png', 'dog/3.png')):
        picture(tmp_path / 'photos' / name, number)
    data = read_photographs(tmp_path / 'photos')
    path = write_corrected(data, np.array([[0, 1]]), tmp_path / 'out')
    corrected = read_photographs(path, images=tmp_path / 'photos')
    assert corrected.labels.images == data.labels.images
    assert corrected.labels.targets.toarray().tolist() == [[1, 1], [1, 0], [0, 1]]


def confirmed(tmp_path, *answers):
    data = read_photographs(write_table(tmp_path, COLUMNS), classes=['cat', 'dog'])
    path = tmp_path / 'changes.csv'
    changes = [
        Change('a.png', 'dog', 'absent', 'present', 0.99),
        Change('c.png', 'cat', 'present', 'absent', 0.9),
    ]
    write_changes(changes, path)
    lines = path.read_text().splitlines()
    assert lines[1] == 'a.png,dog,absent,present,0.9900,'
    rows = [line + answer for line, answer in zip(lines[1:], answers)]
    path.write_text('\n'.join([lines[0], *rows]))
    return path, data


def test_only_what_is_confirmed_is_read(tmp_path):
    path, data = confirmed(tmp_path, 'no', ' Yes ')
    assert read_confirmed(path, data.labels).tolist() == [[2, 0]]
    path, data = confirmed(tmp_path, '', '')
    assert read_confirmed(path, data.labels).shape == (0, 2)


def test_names_that_look_like_formulas_come_back(tmp_path):
    table = write_table(tmp_path, 'image,=cat\n-a.png,1\n', ['-a.png'])
    data = read_photographs(table)
    path = tmp_path / 'changes.csv'
    write_changes([Change('-a.png', '=cat', 'present', 'absent', 0.9)], path)
    assert path.read_text().splitlines()[1].startswith("'-a.png,'=cat,")
    path.write_text(path.read_text().strip() + 'yes')
    assert read_confirmed(path, data.labels).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ('old', 'new', 'match'),
    [
        ('0.9900,yes', '0.9900,perhaps', "row 2: the column 'confirmed' has 'perhaps'"),
        ('a.png', 'q.png', "no label 'dog' of an image 'q.png'"),
        ('dog,absent', 'dog,present', "'dog' of 'a.png' is absent in the data"),
        ('confirmed', 'sure', r"has no column \['confirmed'\]"),
    ],
)
def test_bad_changes(tmp_path, old, new, match):
    path, data = confirmed(tmp_path, 'yes', '')
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=match):
        read_confirmed(path, data.labels)


def test_missing_changes(tmp_path):
    _, data = confirmed(tmp_path, '', '')
    with pytest.raises(FileNotFoundError, match='confirmed='):
        read_confirmed(tmp_path / 'none.csv', data.labels)


def test_the_labels_are_not_overwritten(tmp_path):
    table = write_table(tmp_path, COLUMNS)
    keep_source(str(table), tmp_path)
    own = table.rename(tmp_path / 'corrected.csv')
    with pytest.raises(ValueError, match='would overwrite'):
        keep_source(str(own), tmp_path)
    keep_source(str(own), tmp_path / 'other')


def test_parts_are_kept(tmp_path):
    for number, part in enumerate(('train', 'val', 'test')):
        for label in ('cat', 'dog'):
            picture(tmp_path / 'photos' / part / label / f'{number}.png', number)
    data = read_photographs(tmp_path / 'photos')
    path = write_corrected(data, np.array([[0, 1]]), tmp_path / 'out')
    corrected = read_photographs(path, images=tmp_path / 'photos')
    assert set(data.parts) == {'train', 'val', 'test'}
    assert corrected.parts.tolist() == data.parts.tolist()
    assert corrected.labels.classes == data.labels.classes
    expected = data.labels.targets.toarray()
    expected[0, 1] = 1 - expected[0, 1]
    np.testing.assert_array_equal(corrected.labels.targets.toarray(), expected)


@pytest.mark.parametrize('style', ['columns', 'names'])
def test_parquet_keeps_split_and_group(tmp_path, style):
    table = write_table(tmp_path, COLUMNS).with_suffix('.parquet')
    frame = pd.DataFrame({'image': ['a.png', 'b.png', 'c.png']})
    if style == 'names':
        frame['labels'] = [['cat'], [], ['cat', 'dog']]
    else:
        frame['cat'], frame['dog'] = [True, False, True], [0, None, 1]
    frame['split'], frame['event'] = ['train', 'test', 'val'], ['x', 'x', 'y']
    frame.to_parquet(table)
    data = read_photographs(table, group='event')
    path = write_corrected(data, np.array([[0, 1], [2, 0]]), tmp_path / 'out')
    again = read_photographs(path, images=data.root, group='event')
    assert again.parts.tolist() == ['train', 'test', 'val']
    assert again.groups.tolist() == data.groups.tolist()
    expected = data.labels.targets.toarray()
    expected[[0, 2], [1, 0]] = 1, 0
    np.testing.assert_array_equal(again.labels.targets.toarray(), expected)


def test_columns_without_a_name_keep_their_cells(tmp_path):
    table = write_table(
        tmp_path, ',image,labels,\n1,a.png,cat,x\n2,b.png,dog,y\n3,c.png,,z\n'
    )
    data = read_photographs(table)
    # A change twice is one.
    places = np.array([[2, 0], [2, 0]])
    path = write_corrected(data, places, tmp_path / 'out')
    assert path.read_text() == (
        ',image,labels,\n1,a.png,cat,x\n2,b.png,dog,y\n3,c.png,cat,z\n'
    )


def test_a_change_twice_counts_once(tmp_path):
    path, data = confirmed(tmp_path, 'yes', 'yes')
    lines = path.read_text().splitlines()
    path.write_text('\n'.join([*lines, lines[1]]))
    assert read_confirmed(path, data.labels).tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize('name', ['image', 'labels', 'split'])
def test_names_that_no_table_can_have(tmp_path, name):
    for folder in (name, 'cat'):
        picture(tmp_path / 'photos' / folder / '1.png', 1)
    with pytest.raises(ValueError, match=f"label '{name}' would have a column"):
        check_corrected(read_photographs(tmp_path / 'photos'))


def test_hand_work_is_not_destroyed(tmp_path):
    names = ['changes.csv']
    path = tmp_path / names[0]
    check_untouched(tmp_path, names)
    write_changes([Change('a.png', 'cat', 'present', 'absent', 0.9)], path)
    check_untouched(tmp_path, names)
    path.write_text(path.read_text().strip() + 'yes\n')
    with pytest.raises(FileExistsError, match='Choose another out=DIR'):
        check_untouched(tmp_path, names)
