# SPDX-License-Identifier: Apache-2.0
"""Files have the fields of those that FiftyOne 1.22 writes."""

import json
from pathlib import Path

import pytest

from mlcl_plugin.commands import main
from mlcl_plugin.datasets.forms import guess_form, read_labels, write_labels

NAMES = {'000005': ['cat', 'dog'], '7/000007': ['dog'], '000009': None}


def write(folder, labels, classes=None, images=True):
    for name in labels if images else ():
        path = folder / f'data/{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    path = folder / 'labels.json'
    path.write_text(json.dumps(dict(classes=classes, labels=labels)))
    return path


def confident(names):
    return names and [dict(label=name, confidence=0.5) for name in names]


@pytest.mark.parametrize(
    ('labels', 'classes'),
    [
        (NAMES, None),
        ({name: confident(x) for name, x in NAMES.items()}, None),
        ({'000005': [0, 1], '7/000007': 1, '000009': None}, ['cat', 'dog', 'owl']),
        ({'000005': ['cat', 'dog'], '7/000007': 'dog', '000009': None}, None),
    ],
)
def test_labels(tmp_path, labels, classes):
    """Lists of names, of objects, of indices; single ones; null."""
    path = write(tmp_path, labels, classes)
    assert guess_form(path) == 'fiftyone'
    read = read_labels(path)
    assert read.images == ('000005.jpg', '7/000007.jpg', '000009.jpg')
    assert read.classes == tuple(classes or ('cat', 'dog'))
    wanted = [[1, 1], [0, 1], [-1, -1]]
    assert read.targets.toarray()[:, :2].tolist() == wanted
    wanted[2] = [0, 0]
    read = read_labels(path, unstated_as=0)
    assert read.targets.toarray()[:, :2].tolist() == wanted


def sample(place, *names, field='labels'):
    found = [
        dict(_id={'$oid': '6b'}, _cls='Classification', tags=[], label=name)
        for name in names
    ]
    value = dict(_cls='Classifications', classifications=found, logits=None)
    return dict(filepath=place, tags=['train'], metadata=None) | {field: value}


def test_samples(tmp_path):
    path = tmp_path / 'samples.json'
    samples = [
        sample('/photos/a/1.jpg', 'dog', 'cat'),
        sample('/photos/b/2.jpg'),
        sample('/photos/3.jpg') | dict(labels=None),
    ]
    samples[0]['kind'] = dict(_cls='Classification', label='indoor')
    path.write_text(json.dumps(dict(samples=samples)))
    assert guess_form(path) == 'fiftyone'
    with pytest.raises(ValueError, match=r"2 fields .*\['kind', 'labels'\].*control"):
        read_labels(path)
    read = read_labels(path, control='labels')
    assert read.images == ('a/1.jpg', 'b/2.jpg', '3.jpg')
    assert read.targets.toarray().tolist() == [[1, 1], [0, 0], [-1, -1]]
    with pytest.raises(ValueError, match="no classifications in control='x'"):
        read_labels(path, control='x')
    read = read_labels(path, control='kind')
    assert read.targets.toarray().tolist() == [[1], [-1], [-1]]


def test_both_ways(tmp_path, capsys):
    """A table to FiftyOne and back, images without a label included."""
    (tmp_path / 'x.csv').write_text('image,cat,dog\na/1.jpg,1,0\n2.JPG,0,0\n')
    root, target = tmp_path / 'photos', tmp_path / 'fo/labels.json'
    args = ['convert', str(tmp_path / 'x.csv'), str(target), '--to', 'fiftyone']
    main([*args, '--image-root', str(root)])
    assert 'To import into FiftyOne' in capsys.readouterr().out
    places = json.loads(target.with_name('data.json').read_text())
    assert places == {'a/1': f'{root}/a/1.jpg', '2': f'{root}/2.JPG'}
    content = json.loads(target.read_text())
    expected = dict(classes=['cat', 'dog'], labels={'a/1': [0], '2': []})
    assert content == expected
    main(['convert', str(target), str(tmp_path / 'y.csv')])
    back = read_labels(tmp_path / 'y.csv')
    assert back.images == ('a/1.jpg', '2.JPG') and back.classes == ('cat', 'dog')
    assert back.targets.toarray().tolist() == [[1, 0], [0, 0]]


def test_same_name_with_another_ending(tmp_path):
    (tmp_path / 'x.csv').write_text('image,cat\n1.jpg,1\n1.png,0\n')
    labels = read_labels(tmp_path / 'x.csv')
    with pytest.raises(ValueError, match="'1.jpg' differs from another"):
        write_labels(labels, tmp_path / 'labels.json', 'fiftyone')


@pytest.mark.parametrize(
    ('labels', 'classes', 'message'),
    [
        ({'1': [2]}, ['cat', 'dog'], "'1' has the label 2, expected an index below 2"),
        ({'1': [0]}, None, "'1' has the label 0, expected a name"),
        ({'1': ['owl']}, ['cat'], r"the labels \['owl'\], expected some of the 1"),
        ([], None, "'labels' is"),
        ({'1': ['cat']}, 'cat', "'classes' is"),
    ],
)
def test_wrong(tmp_path, labels, classes, message):
    path = write(tmp_path, labels, classes)
    with pytest.raises(ValueError, match=message):
        read_labels(path)


def test_no_image(tmp_path):
    path = write(tmp_path, {'1': ['cat']}, images=False)
    with pytest.raises(ValueError, match="labels of '1', but there is no such image"):
        read_labels(path)
    path.with_name('data.json').write_text('{"1": 2}')
    with pytest.raises(ValueError, match='does not give a path for each image'):
        read_labels(path)
    path.write_text('{"samples": [{"filepath": 1, "x": {"_cls": "Classification"}}]}')
    with pytest.raises(ValueError, match='sample 1 has the filepath 1'):
        read_labels(path)


def test_fiftyone_reads_it(tmp_path):
    """FiftyOne's own importer and exporter, which need no database."""
    fiftyone = pytest.importorskip('fiftyone')
    data = pytest.importorskip('fiftyone.utils.data')
    (tmp_path / 'x.csv').write_text('image,cat,dog\na/1.jpg,1,1\n2.jpg,0,0\n')
    labels = read_labels(tmp_path / 'x.csv')
    for image in labels.images:
        (tmp_path / 'photos' / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'photos' / image).write_bytes(b'')
    write_labels(
        labels, tmp_path / 'labels.json', 'fiftyone', image_root=tmp_path / 'photos'
    )
    importer = data.FiftyOneImageClassificationDatasetImporter(
        dataset_dir=str(tmp_path), data_path='data.json'
    )
    with importer:
        found = {path: label for path, _, label in importer}
    names = {
        str(Path(path).relative_to(tmp_path / 'photos')): [
            x.label for x in label.classifications
        ]
        for path, label in found.items()
    }
    assert names == {'a/1.jpg': ['cat', 'dog'], '2.jpg': []}
    exporter = data.FiftyOneImageClassificationDatasetExporter(
        str(tmp_path / 'out'), classes=['cat', 'dog'], export_media=True
    )
    with exporter:
        for path in found:
            made = [fiftyone.Classification(label='dog')]
            exporter.export_sample(path, fiftyone.Classifications(classifications=made))
    read = read_labels(tmp_path / 'out/labels.json')
    assert sorted(read.images) == ['1.jpg', '2.jpg']
    assert read.targets.toarray().tolist() == [[0, 1], [0, 1]]
