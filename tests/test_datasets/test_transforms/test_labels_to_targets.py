# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch
from mmpretrain.datasets import VOC
from mmpretrain.registry import TRANSFORMS

from mlcl_plugin.datasets import LabelsToTargets


def loop_targets(present, unknown, num_classes):
    """The definition, label by label."""
    row = []
    for label in range(num_classes):
        if label in present:
            row.append(1)
        elif label in unknown:
            row.append(-1)
        else:
            row.append(0)
    return row


@pytest.mark.parametrize('as_type', [list, tuple, np.array, torch.tensor])
@pytest.mark.parametrize(
    ('present', 'unknown'),
    [
        ([], []),
        ([0], []),
        ([4, 1], [0]),
        ([2], [2]),
        ([3, 2], [2, 0]),
        ([3, 2], [2, 0, 0]),
        ([3], [1, 0, 1, 0]),
        ([], [0, 1, 2, 3, 4]),
        ([0, 1, 2, 3, 4], []),
    ],
)
def test_targets(present, unknown, as_type):
    transform = TRANSFORMS.build(dict(type='LabelsToTargets', num_classes=5))
    gt_label = as_type(present)
    results = {'gt_label': gt_label, 'gt_label_difficult': as_type(unknown), 'x': 1}
    results = transform(results)
    assert results['gt_score'].dtype == np.float32
    assert results['gt_score'].shape == (5,)
    assert results['gt_score'].tolist() == loop_targets(present, unknown, 5)
    assert results['gt_label'] is gt_label
    assert set(results) == {'gt_label', 'gt_label_difficult', 'gt_score', 'x'}


def test_unknown_key_absent_or_none():
    transform = LabelsToTargets(3)
    assert transform({'gt_label': [1]})['gt_score'].tolist() == [0, 1, 0]
    results = transform({'gt_label': [1], 'gt_label_difficult': None})
    assert results['gt_score'].tolist() == [0, 1, 0]


def test_other_unknown_keys():
    transform = LabelsToTargets(4, unknown_keys=('unverified', 'crowd'))
    results = {
        'gt_label': [3],
        'unverified': [0],
        'crowd': [1, 3],
        'gt_label_difficult': [2],
    }
    assert transform(results)['gt_score'].tolist() == [-1, -1, 0, 1]
    assert LabelsToTargets(3, unknown_keys=())(
        {'gt_label': [0], 'gt_label_difficult': [1]}
    )['gt_score'].tolist() == [1, 0, 0]


def test_given_score_is_left_alone():
    transform = LabelsToTargets(3)
    score = np.array([1, -1, 0], dtype=np.float64)
    results = transform({'gt_score': score, 'gt_label_difficult': [2]})
    assert results['gt_score'] is score
    assert score.tolist() == [1, -1, 0]
    results = transform({'gt_score': [0, 1, 1], 'gt_label': [0]})
    assert results['gt_score'] == [0, 1, 1]


@pytest.mark.parametrize(
    ('score', 'message'),
    [
        ([1, 0], r'shape \(2,\) \(image a\.jpg\), expected \(3,\)'),
        ([[1, 0, 1]], r'shape \(1, 3\)'),
        (
            [1, 0, 0.5],
            r'gt_score hold 0\.5 \(image a\.jpg\), .*soft targets are not allowed',
        ),
        ([1, 0, 2], r'gt_score hold 2 \(image a\.jpg\), expected 1 \(present\), 0'),
        ([1, 0, float('nan')], r'gt_score hold nan \(image a\.jpg\)'),
    ],
)
def test_bad_given_score(score, message):
    with pytest.raises(ValueError, match=message):
        LabelsToTargets(3)({'gt_score': score, 'img_path': 'a.jpg'})


@pytest.mark.parametrize('key', ['gt_label', 'gt_label_difficult'])
@pytest.mark.parametrize('value', [-1, 5, 300])
def test_out_of_range(key, value):
    results = {'gt_label': [0], 'img_path': 'a.jpg', key: [2, value]}
    with pytest.raises(
        ValueError,
        match=rf'{key} holds label {value} \(image a\.jpg\).*0 to 4 \(num_classes=5\)',
    ):
        LabelsToTargets(5)(results)


@pytest.mark.parametrize(
    ('label', 'message'),
    [
        ([1, 0, 1, 0], 'which looks like a vector with one entry per label'),
        ([0, 0, 0], 'which looks like a vector with one entry per label'),
        ([1, 1], 'which looks like a vector with one entry per label'),
        ([2, 0, 0], 'which names label 0 twice'),
        ([1, 3, 2, 3], 'which names label 3 twice'),
    ],
)
def test_label_named_twice(label, message):
    message = rf'gt_label is .* \(image a\.jpg\), {message}.* indices .* into gt_score'
    with pytest.raises(ValueError, match=message):
        LabelsToTargets(4)({'gt_label': label, 'img_path': 'a.jpg'})


def test_two_labels_are_no_vector():
    assert LabelsToTargets(2)({'gt_label': [0, 1]})['gt_score'].tolist() == [1, 1]


@pytest.mark.parametrize('label', [[1.0, 2.0], [True, False], ['car'], [[1, 2]]])
def test_no_list_of_integers(label):
    with pytest.raises(ValueError, match='expected a flat list of integers'):
        LabelsToTargets(4)({'gt_label': label})


@pytest.mark.parametrize('results', [{}, {'gt_label': None}])
def test_no_label(results):
    with pytest.raises(ValueError, match=r"no 'gt_label' \(image a\.jpg\)"):
        LabelsToTargets(4)({'img_path': 'a.jpg', **results})


@pytest.mark.parametrize('num_classes', [0, -1, 2.0, None])
def test_bad_num_classes(num_classes):
    with pytest.raises(ValueError, match='num_classes must be an int'):
        LabelsToTargets(num_classes)


def test_unknown_keys_as_a_string():
    with pytest.raises(ValueError, match="is the string 'gt_label_difficult'"):
        LabelsToTargets(4, unknown_keys='gt_label_difficult')


def test_repr():
    assert repr(LabelsToTargets(4, ['a'])) == (
        "LabelsToTargets(num_classes=4, unknown_keys=('a',))"
    )


@pytest.fixture
def voc_root(tmp_path):
    """Two images: a difficult dog next to an easy one, and a difficult cat only."""
    objects = {
        '000001': [('dog', 1), ('dog', 0), ('person', 0), ('cat', 1)],
        '000002': [('cat', 1)],
    }
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    for name, boxes in objects.items():
        cv2.imwrite(
            str(tmp_path / 'JPEGImages' / f'{name}.jpg'), np.zeros((8, 9, 3), np.uint8)
        )
        xml = ''.join(
            f'<object><name>{label}</name><difficult>{difficult}</difficult></object>'
            for label, difficult in boxes
        )
        (tmp_path / 'Annotations' / f'{name}.xml').write_text(
            f'<annotation>{xml}</annotation>'
        )
    (tmp_path / 'ImageSets/Main/train.txt').write_text('\n'.join(objects))
    return tmp_path


def test_voc_difficult_labels(voc_root):
    dataset = VOC(
        data_root=str(voc_root),
        split='train',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=20),
            dict(type='PackInputs'),
        ],
    )
    names = dataset.metainfo['classes']
    first, second = (dataset[i]['data_samples'] for i in range(2))
    assert first.gt_score.dtype == torch.float32
    assert dict(zip(names, first.gt_score.tolist())) == {
        **dict.fromkeys(names, 0),
        'dog': 1,
        'person': 1,
        'cat': -1,
    }
    assert dict(zip(names, second.gt_score.tolist())) == {
        **dict.fromkeys(names, 0),
        'cat': -1,
    }
    assert second.gt_label.numel() == 0
