# SPDX-License-Identifier: Apache-2.0
"""A form is one class: what somebody writes to add another one."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from mlcl_plugin.datasets.forms import (
    FORMS,
    Form,
    ImageLabels,
    guess_form,
    read_labels,
    write_labels,
)
from mlcl_plugin.datasets.forms.parts import divide, part_paths


class Lines(Form):
    """One line per image: its path, then its labels."""

    name = 'lines'
    looks = 'a file that ends with .lines'

    def claims(self, path, keys):
        return path.suffix == '.lines'

    def read(self, path, options):
        rows = [line.split() for line in path.read_text().splitlines()]
        classes = tuple(options.classes)
        targets = np.array([[name in row[1:] for name in classes] for row in rows])
        images = tuple(row[0] for row in rows)
        return ImageLabels(classes, images, csr_array(targets.astype(np.int8)))

    def holds_unknown(self, options):
        return False

    def prepare(self, labels, path, options):
        lines = [
            ' '.join([image, *(labels.classes[i] for i in labels.labels_of(row, 1))])
            for row, image in enumerate(labels.images)
        ]
        return lambda: [(path, '\n'.join(lines).encode())]

    def dataset_config(self, path, options):
        return dict(
            type='Lines', ann_file=path, data_prefix=dict(img_path=options.image_folder)
        )


def test_new_form(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMS, 'lines', Lines())
    path = tmp_path / 'x.lines'
    targets = csr_array(np.array([[1, -1], [0, 1]], dtype=np.int8))
    labels = ImageLabels(('cat', 'dog'), ('a.jpg', 'b.jpg'), targets)
    with pytest.raises(ValueError, match='1 labels of 1 images are unknown'):
        write_labels(labels, path)
    write_labels(labels, path, unknown='negative')
    assert guess_form(path) == 'lines' and path.read_text() == 'a.jpg cat\nb.jpg dog'
    got = read_labels(path, classes=['cat', 'dog'])
    assert got.images == labels.images and got.targets.toarray().tolist() == [
        [1, 0],
        [0, 1],
    ]
    with pytest.raises(ValueError, match=r'a file that ends with \.lines'):
        guess_form('x.xml')


@pytest.mark.parametrize('form', ['coco', 'mmpretrain'])
def test_ending_that_forms_share(form):
    labels = ImageLabels(('a',), ('a.jpg',), csr_array(np.ones((1, 1), dtype=np.int8)))
    with pytest.raises(ValueError, match=f"name it .*form='{form}'"):
        write_labels(labels, 'new.json')


def test_parts():
    targets = csr_array((np.arange(40)[:, None] % [1, 2] == 0).astype(np.int8))
    images = tuple(f'{i}.jpg' for i in range(40))
    labels = ImageLabels(('all', 'even'), images, targets)
    parts, split = divide(labels, val=0.25)
    assert list(parts) == ['train', 'val']
    assert [len(part.images) for part in parts.values()] == [30, 10]
    assert sorted(parts['train'].images + parts['val'].images) == sorted(images)
    for name, part in parts.items():
        rows = [images.index(image) for image in part.images]
        assert rows == split.parts[name].tolist()
        np.testing.assert_array_equal(part.targets.toarray(), targets.toarray()[rows])
    lines = split.describe()
    assert lines[1].startswith('val: 10 images, 25.0% (wanted 25.0%)')
    assert split.warnings() == []
    rare = ImageLabels(
        ('all', 'rare'),
        images,
        csr_array(np.stack([np.ones(40), np.arange(40) == 3], axis=1).astype(np.int8)),
    )
    _, split = divide(rare, 0.25, 0.25)
    assert split.warnings()[0] == 'labels with fewer images than the 3 parts: rare'
    assert len(split.warnings()) == 3 and 'lacks: rare' in split.warnings()[1]
    for share in (0, 1, float('nan')):
        with pytest.raises(ValueError, match=f'got test={share}'):
            divide(labels, test=share)


def test_paths_of_parts():
    parts = ('train', 'val')
    assert part_paths('a/x.y.csv', FORMS['table'], parts) == {
        'train': 'a/x.y_train.csv',
        'val': 'a/x.y_val.csv',
    }
    assert part_paths('a/voc', FORMS['voc'], parts) == dict.fromkeys(parts, 'a/voc')
