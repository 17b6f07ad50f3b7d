# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.inference.decision_rule import DecisionRule
from mlcl_plugin.inference.results import answer, round_map, round_score

CLASSES = ('cat', 'dog', 'owl')


def test_answer():
    sample = DataSample().set_pred_score(torch.tensor([0.6, 0.2, 0.9]))
    rule = DecisionRule(Decisions(CLASSES, [0.5, 0.1, 0.95]), None)
    found, result = answer(sample, CLASSES, rule, return_scores=True)
    assert found.tolist() == [0, 1]
    assert result['labels'] == [
        dict(label='cat', score=0.600000024, threshold=0.5),
        dict(label='dog', score=0.200000003, threshold=0.1),
    ]
    assert list(result['scores'].items()) == [
        ('cat', 0.600000024),
        ('dog', 0.200000003),
        ('owl', 0.899999976),
    ]
    found, result = answer(sample, CLASSES, rule._replace(topk=1))
    assert found.tolist() == [0] and 'scores' not in result


def test_calibrated():
    """The sample keeps what the result says."""
    sample = DataSample().set_pred_score(torch.tensor([0.9, 0.5, 0.1]))
    rule = DecisionRule(Decisions(CLASSES, [0.8, 0.5, 0.2], [2.0, 1.0, 2.0]), None)
    found, result = answer(sample, CLASSES, rule, return_scores=True)
    assert found.tolist() == [1, 2]
    assert list(result['scores'].values()) == pytest.approx([0.75, 0.5, 0.25])
    assert sample.pred_score.tolist() == pytest.approx([0.75, 0.5, 0.25])


def test_attention():
    sample = DataSample().set_pred_score(torch.tensor([0.9, 0.5, 0.1]))
    sample.set_field(torch.full((3, 2, 1), 1 / 3), 'attention')
    rule = DecisionRule(Decisions.uniform(CLASSES, 0.9), None)
    (label,) = answer(sample, CLASSES, rule).result['labels']
    assert label['attention'] == [[0.333333], [0.333333]]


def test_numbers():
    values = np.random.default_rng(0).random(1000, dtype=np.float32)
    assert all(np.float32(round_score(value)) == value for value in values)
    assert round_map(np.zeros((2, 1, 2))) == [[[0.0, 0.0]], [[0.0, 0.0]]]
