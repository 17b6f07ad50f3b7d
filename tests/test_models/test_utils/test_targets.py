# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mlcl_plugin.models.utils import collect_targets


def test_gt_score_passes():
    rows = [[1, 0, -1, 0], [0, 0, 0, 0], [-1, -1, -1, -1], [1, 1, 1, 1]]
    samples = [DataSample().set_gt_score(np.array(row)) for row in rows]
    targets = collect_targets(samples, 4)
    assert targets.shape == (4, 4) and targets.dtype == torch.float32
    assert targets.tolist() == rows


@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.float64, torch.int64, torch.int8]
)
def test_gt_score_of_any_type(dtype):
    sample = DataSample().set_gt_score(torch.tensor([1, -1, 0], dtype=dtype))
    targets = collect_targets([sample], 3, device='cpu')
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[1, -1, 0]]


def test_soft_scores_pass():
    sample = DataSample().set_gt_score([0.25, 1.0, 0.0, -1.0])
    assert collect_targets([sample], 4).tolist() == [[0.25, 1, 0, -1]]


def test_gt_label():
    labels = [[2], [0, 3], [], [3, 1], [0, 1], [1, 2]]
    samples = [DataSample().set_gt_label(label) for label in labels]
    targets = collect_targets(samples, 4)
    assert targets.dtype == torch.float32
    for row, label in zip(targets.tolist(), labels, strict=True):
        assert row == [float(j in label) for j in range(4)]
    assert collect_targets(samples[:1], 4, 'cpu').tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize('dtype', [torch.int32, torch.int8, torch.uint8])
def test_gt_label_of_any_integer_type(dtype):
    sample = DataSample().set_gt_label(torch.tensor([2, 0], dtype=dtype))
    assert collect_targets([sample], 4).tolist() == [[1, 0, 1, 0]]


def test_empty_gt_label_of_torch():
    # torch.tensor([]) is of float32.
    sample = DataSample().set_gt_label(torch.tensor([]))
    assert collect_targets([sample], 4).tolist() == [[0, 0, 0, 0]]


def test_gt_score_has_priority_and_both_mix_in_a_batch():
    both = DataSample().set_gt_label([0]).set_gt_score([0.0, 1.0, -1.0])
    label = DataSample().set_gt_label([2])
    assert collect_targets([both, label], 3).tolist() == [[0, 1, -1], [0, 0, 1]]


def test_samples_stay_as_they_are():
    score = torch.tensor([1.0, 0.0, -1.0])
    sample = DataSample().set_gt_score(score)
    targets = collect_targets([sample], 3)
    targets.fill_(7)
    assert sample.gt_score.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ('label', 'message'),
    [
        ([0, 4], 'label 4.*from 0 to 3.*num_classes=4'),
        ([-1, 2], 'label -1.*from 0 to 3'),
        ([1, 0, 1, 0], r'\[1, 0, 1, 0\], which looks like a vector .*gt_score'),
        ([1, 0, 0], 'looks like a vector with one entry per label'),
        ([0, 0, 0, 0], 'looks like a vector with one entry per label'),
        ([3, 3, 1], 'which names label 3 twice'),
        (torch.tensor([0.0, 1.5]), r'\[0.0, 1.5\], expected a flat list of integers'),
        (torch.tensor([True, False, True, False]), 'expected a flat list of integers'),
    ],
)
def test_bad_gt_label(label, message):
    samples = [DataSample().set_gt_label([1]), DataSample().set_gt_label(label)]
    with pytest.raises(ValueError, match=message):
        collect_targets(samples, 4)


@pytest.mark.parametrize('length', [0, 3, 5])
def test_wrong_length(length):
    sample = DataSample().set_gt_score(torch.zeros(length))
    with pytest.raises(
        ValueError, match=rf'\({length},\), expected \(4,\).*num_classes=4'
    ):
        collect_targets([sample], 4)


@pytest.mark.parametrize('shape', [(1, 4), (4, 1), (2, 2), ()])
def test_wrong_shape(shape):
    sample = DataSample()
    sample.set_field(torch.zeros(shape), 'gt_score')
    with pytest.raises(ValueError, match=r'expected \(4,\).*num_classes=4'):
        collect_targets([sample], 4)


@pytest.mark.parametrize('value', [2.0, 1.01, -0.5, -2.0, 255.0, math.nan, math.inf])
def test_wrong_values(value):
    good = DataSample().set_gt_score([1.0, 0.0, -1.0, 0.5])
    bad = DataSample().set_gt_score([1.0, 0.0, value, 0.0])
    message = f'Values of gt_score hold {torch.tensor(value).item()} for label 2, '
    with pytest.raises(ValueError, match=message):
        collect_targets([good, bad], 4)


def test_missing_targets():
    with pytest.raises(ValueError, match='neither gt_score nor gt_label'):
        collect_targets([DataSample().set_gt_label([0]), DataSample()], 4)
    with pytest.raises(ValueError, match='empty batch'):
        collect_targets([], 4)


@pytest.mark.parametrize(
    'sample',
    [
        DataSample().set_gt_label([9]),
        DataSample().set_gt_label([1, 0, 1, 0]),
        DataSample().set_gt_score([0.0, 1.0]),
        DataSample().set_gt_score([0.0, 3.0, 0.0, 0.0]),
        DataSample(),
    ],
)
def test_errors_name_the_image(sample):
    sample = sample.clone()
    sample.set_metainfo(dict(img_path='train/000017.jpg'))
    with pytest.raises(ValueError, match='image train/000017.jpg'):
        collect_targets([DataSample().set_gt_label([1]), sample], 4)
