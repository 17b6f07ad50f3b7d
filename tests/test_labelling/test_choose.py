# SPDX-License-Identifier: Apache-2.0
import csv
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

from mlcl_plugin.apis import select_images
from mlcl_plugin.commands import main
from mlcl_plugin.datasets.forms import ImageLabels
from mlcl_plugin.fit.read_data import read_photographs
from mlcl_plugin.labelling.choose import add_pool
from mlcl_plugin.labelling.tables import write_parts
from tests.test_fit.test_read_data import picture
from tests.test_labelling.test_find import colours

OPTIONS = dict(image_size=32, device='cpu')


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def photos(tmp_path):
    """24 photographs with labels; one label is unknown; and a folder of others."""
    table = colours(tmp_path / 'photos', 12)
    for number in range(5):
        picture(tmp_path / 'new' / 'deep' / f'{number}.png', 3 * number)
    return table


def test_photographs_of_a_folder(tmp_path, tiny_backbone, photos):
    before = photos.read_text()
    found = select_images(
        photos,
        tmp_path / 'out',
        pool=tmp_path / 'new',
        number=4,
        rule='uncertainty',
        **OPTIONS,
    )
    rows = read(found.table)
    assert [row['image'] for row in rows] == found.images
    assert len(set(found.images)) == 4 and found.labels == []
    values = [float(row['entropy']) for row in rows]
    assert values == sorted(values, reverse=True)
    # The table to fill in has what is known, and can be read again.
    again = read_photographs(found.to_label, images=tmp_path)
    assert again.labels.images == tuple(found.images)
    pool = [name for name in found.images if 'deep' in name]
    for name, row in zip(found.images, again.labels.targets.toarray()):
        assert (row == -1).all() if name in pool else (row == -1).sum() == 1
    assert found.sheet.read_text().count('<img') == 4
    assert photos.read_text() == before


def test_single_labels(tmp_path, tiny_backbone, photos):
    found = select_images(
        photos, tmp_path / 'out', number=5, single=True, rule='rare', **OPTIONS
    )
    # There is only one that is unknown.
    assert (found.images, found.labels) == (['05.png'], ['dark'])
    assert 'Is there dark?' in found.sheet.read_text()
    # What was filled in is not lost, and no features are computed before.
    found.to_label.write_text(found.to_label.read_text().replace('""', '1'))
    filled = found.to_label.read_text()
    with pytest.raises(FileExistsError, match='to_label.csv.* was changed'):
        select_images(photos, tmp_path / 'out', device='cpu')
    assert found.to_label.read_text() == filled


def test_a_pool_leaves_out_what_is_known(photos):
    data = read_photographs(photos)
    with pytest.raises(ValueError, match='no photographs that'):
        add_pool(data, str(photos.parent))
    pool = photos.parent.parent / 'new'
    joined = add_pool(data, str(pool))
    assert len(joined.labels.images) == 17
    targets = joined.labels.targets.toarray()
    np.testing.assert_array_equal(targets[:12], data.labels.targets.toarray())
    assert (targets[12:] == -1).all()
    assert all((joined.root / image).is_file() for image in joined.labels.images)


@pytest.mark.parametrize(
    ('cells', 'options', 'match'),
    [
        ('1,0', [], 'no unknown label to ask for'),
        (',', [], 'no known label'),
        ('1,', ['--single', '--by', 'diversity'], 'got --by diversity'),
        ('1,', ['--number', '0'], '--number'),
        ('1,', ['--pool', 'nowhere'], 'nowhere'),
    ],
)
def test_errors_name_flags(tmp_path, capsys, cells, options, match):
    picture(tmp_path / 'a.png')
    table = tmp_path / 'labels.csv'
    table.write_text(f'image,cat,dog\na.png,{cells}\n')
    with pytest.raises(SystemExit) as end:
        main(['select', str(table), '--out', str(tmp_path / 'out'), *options])
    assert end.value.code == 2
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    ('given', 'match'),
    [
        (dict(pool='new'), 'pool=new is about tables'),
        (dict(backbone='efflite0'), 'backbone=efflite0 is about tables'),
        (dict(image_size=32), 'image_size=32 is about tables'),
        (dict(device='nowhere'), "device='nowhere'"),
    ],
)
def test_a_config_names_these_itself(tmp_path, given, match):
    # It is refused before the config is read.
    with pytest.raises(ValueError, match=match):
        select_images(tmp_path / 'config.py', tmp_path / 'out', **given)


def test_a_rule_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.cluster', None)
    with pytest.raises(ImportError, match='scikit-learn'):
        select_images(tmp_path / 'none.csv', tmp_path / 'out')


def test_a_label_that_no_table_can_have(tmp_path):
    for name in ('image', 'cat'):
        picture(tmp_path / 'photos' / name / '1.png', 1)
    with pytest.raises(ValueError, match="label 'image' would have a column"):
        select_images(tmp_path / 'photos', tmp_path / 'out', rule='rare')


def test_what_to_label_keeps_its_part(tmp_path):
    labels = ImageLabels(
        ('cat', 'dog'), ('a.png', 'b.png'), csr_array(np.int8([[1, -1], [-1, 0]]))
    )
    path = tmp_path / 'to_label.csv'
    write_parts(labels, np.array(['train', 'test']), path)
    for image in labels.images:
        picture(tmp_path / image)
    again = read_photographs(path)
    assert again.parts.tolist() == ['train', 'test']
    assert again.labels.targets.toarray().tolist() == [[1, -1], [-1, 0]]
