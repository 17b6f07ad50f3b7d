# SPDX-License-Identifier: Apache-2.0
import csv

import pytest

from mlcl_plugin.commands import main
from mlcl_plugin.datasets.forms import read_labels
from mlcl_plugin.datasets.forms.groups import read_groups
from mlcl_plugin.datasets.forms.parts import divide


@pytest.fixture
def scans(tmp_path):
    rows = ['patient,image,cat,dog']
    for i in range(24):
        rows.append(f'{i // 3},{i}.jpg,{i % 2},{int(i // 3 % 4 == 0)}')
    path = tmp_path / 'scans.csv'
    path.write_text('\n'.join(rows) + '\n')
    return path


def read_images(path):
    with open(path) as file:
        return [row['image'] for row in csv.DictReader(file)]


def test_command(scans, tmp_path, capsys):
    target = tmp_path / 'out.csv'
    assert (
        main(
            ['convert', str(scans), str(target), '--val', '0.25', '--group', 'patient']
        )
        == 0
    )
    assert '8 groups, each in one part' in capsys.readouterr().out
    parts = {}
    for part in ('train', 'val'):
        images = read_images(tmp_path / f'out_{part}.csv')
        parts[part] = {int(image.split('.')[0]) // 3 for image in images}
    assert not parts['train'] & parts['val']
    assert len(parts['val']) == 2


def test_group_needs_a_division(scans, tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['convert', str(scans), str(tmp_path / 'x.csv'), '--group', 'patient'])
    assert '--group is about a division' in capsys.readouterr().err


def test_group_is_no_label(scans):
    labels = read_labels(scans, group='patient')
    assert labels.classes == ('cat', 'dog')
    groups = read_groups(scans, labels.images, 'patient')
    assert groups == [str(i // 3) for i in range(24)]
    parts, _ = divide(labels, 0.25, 0.25, groups=groups)
    assert [len(part.images) for part in parts.values()] == [12, 6, 6]


def test_errors(scans, tmp_path):
    with pytest.raises(ValueError, match="no column group='camera', it has .*patient"):
        read_groups(scans, ['0.jpg'], 'camera')
    scans.write_text(scans.read_text().replace('\n1,4.jpg', '\n ,4.jpg'))
    with pytest.raises(ValueError, match="row 6, column 'patient' is empty: '4.jpg'"):
        read_groups(scans, ['0.jpg', '4.jpg'], 'patient')
    path = tmp_path / 'x.json'
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(ValueError, match="group='a' names a column of a table, but"):
        read_labels(path, group='a')
