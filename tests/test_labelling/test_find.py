# SPDX-License-Identifier: Apache-2.0
import csv
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mlcl_plugin.apis import apply_changes, find_issues
from mlcl_plugin.commands import main
from mlcl_plugin.labelling.label_wise import LABEL
from tests.test_fit.test_read_data import make_many, picture

WRONG = ('04.png', 'dark')


def colours(folder, number=24):
    """Photographs that are dark, bright or of both kinds; one label is wrong."""
    folder.mkdir(parents=True)
    rows = ['image,dark,<b>bright</b>']
    rng = np.random.default_rng(0)
    for index in range(number):
        left, right = [(0, 0), (255, 255), (0, 255)][index % 3]
        image = np.full((32, 32, 3), left, np.uint8)
        image[:, 16:] = right
        noise = rng.integers(0, 20, image.shape)
        image = np.clip(image + noise - 10, 0, 255).astype(np.uint8)
        name = f'{index:02}.png'
        cv2.imwrite(str(folder / name), image)
        given = [int(0 in (left, right)), int(255 in (left, right))]
        given[0] = 1 - given[0] if name == WRONG[0] else given[0]
        # A label nobody has looked at is not doubted.
        cells = ['' if name == '05.png' else str(given[0]), str(given[1])]
        rows.append(','.join([name, *cells]))
    table = folder / 'labels.csv'
    table.write_text('\n'.join(rows))
    return table


def test_a_wrong_label_comes_first(tmp_path, tiny_backbone, capsys, monkeypatch):
    table = colours(tmp_path / 'photos')
    before = table.read_text()
    out = tmp_path / 'out'
    found = find_issues(
        table, out, image_size=32, folds=3, at_least=0.5, pictures=3, device='cpu'
    )
    with found.table.open() as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]['image'], rows[0]['label']) == WRONG
    assert rows[0]['given'] == 'present'
    assert float(rows[0]['suspicion']) == pytest.approx(
        1 - float(rows[0]['score']), abs=1e-3
    )
    mean = (float(rows[0]['logistic']) + float(rows[0]['neighbours'])) / 2
    assert mean == pytest.approx(float(rows[0]['score']), abs=1e-3)
    # Of 48 labels one is unknown.
    assert len(rows) == 47
    assert ('05.png', 'dark') not in {(row['image'], row['label']) for row in rows}
    page = found.sheet.read_text()
    assert page.count('<img') == 3
    assert '&lt;b&gt;bright&lt;/b&gt;' in page and '<b>bright' not in page
    assert table.read_text() == before
    assert 'changes are proposed' in capsys.readouterr().out
    with found.changes.open() as file:
        changes = list(csv.DictReader(file))
    assert (changes[0]['image'], changes[0]['label']) == WRONG
    assert changes[0]['proposed'] == 'absent'
    corrected = {line.split(',')[0]: line for line in _lines(found.corrected)}
    assert corrected['04.png'] == '04.png,0,1'

    # Only what is confirmed is changed.
    lines = found.changes.read_text().splitlines()
    found.changes.write_text('\n'.join([lines[0], f'{lines[1]}yes', *lines[2:]]))
    path, number = apply_changes(table, found.changes, tmp_path / 'done')
    assert number == 1
    with monkeypatch.context() as patch:
        patch.setattr('mlcl_plugin.labelling.find.compute_features', _not_reached)
        with pytest.raises(FileExistsError, match='changes.csv.* was changed'):
            find_issues(table, out, image_size=32, device='cpu')
    changed = set(_lines(path)) - set(before.splitlines())
    assert changed == {'04.png,0,1'}


def _not_reached(*args, **kwargs):
    pytest.fail('Features were computed.')


def _lines(path):
    return path.read_text().splitlines()


@pytest.mark.slow
def test_absent_labels_alone(tmp_path, tiny_backbone):
    table = make_many(tmp_path / 'photos', 12)
    found = find_issues(
        table,
        tmp_path / 'out',
        classes=['cat', 'dog'],
        image_size=32,
        folds=2,
        kind='missing',
        number=4,
        device='cpu',
    )
    assert {row.split(',')[3] for row in _lines(found.table)[1:]} == {'absent'}
    assert len(_lines(found.table)) == 5


def test_the_training_images_of_a_config(tmp_path, write_config):
    # Features are those of all images, whatever a training takes.
    path = write_config({'train_dataloader.dataset.indices': 4})
    found = find_issues(path, tmp_path / 'out', folds=2, device='cpu')
    assert found.probability.shape == (7, 3)
    assert (tmp_path / 'out' / 'work' / 'features').is_dir()
    with pytest.raises(ValueError, match='group=event is about tables'):
        find_issues(path, tmp_path / 'out', group='event')
    for given in (dict(backbone='efflite0'), dict(image_size=32)):
        with pytest.raises(ValueError, match='which names its backbone and images'):
            find_issues(path, tmp_path / 'out', **given)
    with pytest.raises(ValueError, match='label_wise=True'):
        find_issues(path, tmp_path / 'out', label_wise=True)


@pytest.mark.slow
def test_neighbours_of_label_wise_embeddings(tmp_path, tiny_backbone):
    table = colours(tmp_path / 'photos')
    found = find_issues(
        table,
        tmp_path / 'out',
        image_size=32,
        folds=2,
        label_wise=True,
        device='cpu',
    )
    assert np.isfinite(found.probability).all()


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (['--kind', 'all'], "--kind: invalid choice: 'all'"),
        (['--at-least', '1.5'], 'got --at-least 1.5'),
        (['--folds', '1'], '--folds'),
        (['--folds', '7'], 'got --folds 7'),
        (['--confirmed', 'none.csv'], '--confirmed none.csv'),
        (['--group', 'events'], '--group events'),
    ],
)
def test_errors_name_flags(tmp_path, tiny_backbone, capsys, options, match):
    table = make_many(tmp_path / 'photos', 6)
    own = ['--out', str(tmp_path / 'out'), '--image-size', '32', '--device', 'cpu']
    with pytest.raises(SystemExit) as end:
        main(['issues', str(table), *own, *options])
    assert end.value.code == 2
    assert match in capsys.readouterr().err


def test_groups_of_an_earlier_call(tmp_path):
    picture(tmp_path / 'a.png')
    table = tmp_path / 'labels.csv'
    table.write_text('image,cat,event\na.png,1,party\n')
    confirmed = tmp_path / 'changes.csv'
    confirmed.write_text('image,label,given,confirmed\na.png,cat,present,yes\n')
    path, number = apply_changes(table, confirmed, tmp_path / 'out', group='event')
    assert number == 1
    assert path.read_text() == 'image,cat,event\na.png,0,party\n'


def test_folds_are_trained_on_the_device_that_is_named(tmp_path, monkeypatch):
    asked = []

    def train(stored, labels, rows, options, backbone, console):
        asked.append((options.device, options.image_size, options.out.name))
        return {LABEL: np.zeros((len(rows['val']), 2))}

    def compute(data, out, console, **kwargs):
        features = SimpleNamespace(folder=out, backbone=None)
        return SimpleNamespace(
            labels=data.labels, features=features, logistic=None, pooled=lambda: None
        )

    table = colours(tmp_path / 'photos', 12)
    for name, value in dict(
        train_fold=train,
        compute_features=compute,
        out_of_fold=lambda *_: np.full((12, 2), 0.5),
    ).items():
        monkeypatch.setattr(f'mlcl_plugin.labelling.find.{name}', value)
    find_issues(
        table,
        tmp_path / 'out',
        folds=2,
        label_wise=True,
        image_size=64,
        device='cpu',
        pictures=0,
    )
    assert asked == [('cpu', 64, 'fold_0'), ('cpu', 64, 'fold_1')]
