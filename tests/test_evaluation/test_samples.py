# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain.structures import DataSample

from mlcl_plugin.evaluation.samples import read_samples

SCORES = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3]])


@pytest.mark.parametrize('kind', [dict, DataSample])
@pytest.mark.parametrize('convert', [torch.tensor, list], ids=['tensors', 'lists'])
@pytest.mark.parametrize('field', ['gt_score', 'gt_label'])
def test_all_forms(kind, convert, field):
    """Tensors are read at once, others one by one."""
    given = {'gt_score': [[1, 0, -1], [0, 0, 1]], 'gt_label': [[0, 2], [2]]}[field]
    expected = given if field == 'gt_score' else [[1, 0, 1], [0, 0, 1]]
    samples = [
        {'pred_score': score, field: convert(target)}
        for score, target in zip(SCORES, given)
    ]
    if kind is DataSample:
        fields = [
            {name: torch.as_tensor(value) for name, value in sample.items()}
            for sample in samples
        ]
        samples = [DataSample() for _ in fields]
        for sample, values in zip(samples, fields):
            for name, value in values.items():
                sample.set_field(value, name)
    scores, targets = read_samples(samples, 3, 3)
    assert scores.dtype == torch.float32 and torch.equal(scores, SCORES)
    assert targets.dtype == torch.int8 and targets.tolist() == expected


def test_copies():
    score, target = SCORES.clone(), torch.tensor([[1, 0, -1], [0, 0, 1]]).to(torch.int8)
    rows = zip(score, target)
    scores, targets = read_samples([dict(pred_score=s, gt_score=t) for s, t in rows])
    score[:], target[:] = 0, 0
    assert torch.equal(scores, SCORES) and targets.sum() == 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ((4, None), 'The dataset has 4 classes but pred_score has 3 entries'),
        ((None, 2), 'pred_score has 3 entries.* but 2 in the samples before it'),
    ],
)
def test_width(options, message):
    sample = dict(pred_score=SCORES[0], gt_score=torch.zeros(3), img_path='a.jpg')
    with pytest.raises(ValueError, match=message) as error:
        read_samples([sample], *options)
    assert ' in the sample of a.jpg' in str(error.value)


@pytest.mark.parametrize('value', [255, 2])
def test_wrong_targets_of_unsigned_integers(value):
    targets = torch.tensor([1, 0, value], dtype=torch.uint8)
    sample = dict(pred_score=torch.zeros(3), gt_score=targets)
    with pytest.raises(ValueError, match=f'gt_score hold {value} in sample 0'):
        read_samples([sample, sample])


@pytest.mark.parametrize('field', ['pred_score', 'gt_score'])
@pytest.mark.parametrize('value', [dict(a=1), [[1], [1, 2]], 'dog', ['dog']])
def test_what_is_no_number(field, value):
    """A dump of a stranger may hold anything."""
    sample = dict(pred_score=[0.5, 0.1], gt_score=[1, 0])
    sample[field] = value
    name = dict(pred_score='scores').get(field, field)
    with pytest.raises(ValueError, match=f'^{name} must be numbers, got '):
        read_samples([sample])
