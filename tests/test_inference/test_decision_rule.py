# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain.models.heads import MultiLabelClsHead

from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.inference.decision_rule import find_rule
from mlcl_plugin.runtime import ModelInfo

CLASSES = ('cat', 'dog', 'owl')


@pytest.mark.parametrize(
    ('head', 'options', 'thresholds', 'topk'),
    [
        (dict(), dict(), [0.5] * 3, None),
        (dict(thr=0.3), dict(), [0.3] * 3, None),
        (dict(thr=0.3), dict(topk=2), [0.3] * 3, 2),
        # Of a head with both, thr has priority.
        (dict(thr=0.3, topk=1), dict(), [0.3] * 3, None),
        # A head with topk alone predicts that many, however low their scores.
        (dict(topk=2), dict(), [0.0] * 3, 2),
        (dict(topk=2), dict(topk=1), [0.0] * 3, 1),
        (dict(topk=1), dict(topk=2), [0.0] * 3, 1),
        # What is given replaces the head's rule.
        (dict(topk=1), dict(thr=0), [0.0] * 3, None),
        (dict(topk=1), dict(thr=0.9, topk=2), [0.9] * 3, 2),
        (dict(thr=0.3), dict(thr=[0.1, 0.2, 0.7]), [0.1, 0.2, 0.7], None),
        (
            dict(topk=1),
            dict(thr=dict(owl=0.7, cat=0.1, dog=0.2)),
            [0.1, 0.2, 0.7],
            None,
        ),
        (
            dict(topk=1),
            dict(decisions=Decisions(CLASSES, [0.1, 1.5, -1.0])),
            [0.1, 1.5, -1.0],
            None,
        ),
        (
            dict(topk=1),
            dict(decisions=Decisions(CLASSES, [0.1, 0.2, 0.3]), topk=2),
            [0.1, 0.2, 0.3],
            2,
        ),
    ],
)
def test_priorities(head, options, thresholds, topk):
    rule = find_rule(CLASSES, MultiLabelClsHead(**head), **options)
    assert rule.decisions.classes == CLASSES
    assert list(rule.decisions.thresholds) == thresholds
    assert rule.topk == topk


@pytest.mark.parametrize('thr', [0.1, 0.3, 0.7])
def test_same_labels_as_the_head(thr):
    """A score that is the threshold in float32 is found."""
    head = MultiLabelClsHead(thr=thr)
    scores = torch.tensor([thr, thr - 1e-6, thr + 1e-6])
    found = find_rule(CLASSES, head).decisions.predict(scores)
    assert found.tolist() == (scores >= thr).tolist() == [True, False, True]


def test_file(tmp_path):
    decisions = Decisions(CLASSES, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    decisions.save(tmp_path / 'decisions.json')
    rule = find_rule(
        CLASSES, MultiLabelClsHead(), decisions=tmp_path / 'decisions.json'
    )
    assert rule.decisions.temperatures.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(thr=0.5, decisions='x.json'), 'either thr or decisions'),
        (dict(topk=0), '^topk must be positive, got 0'),
        (dict(thr=-0.1), 'thr must lie from 0 to 1, got -0.1'),
        (dict(thr=[0.5, 2]), 'thr must lie from 0 to 1'),
        (dict(thr=[0.5, 0.5]), 'thresholds must be 3 numbers'),
        (dict(thr=dict(cat=0.5, ox=1)), "missing are .'dog', 'owl'., unknown .*'ox'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        find_rule(CLASSES, MultiLabelClsHead(), **options)


def test_other_labels():
    decisions = Decisions(['a', 'b'], [0.5, 0.5])
    with pytest.raises(ValueError, match='2 labels in the decisions, expected 3'):
        find_rule(CLASSES, MultiLabelClsHead(), decisions=decisions)


INFO = ModelInfo(
    classes=CLASSES,
    thresholds=[0.2] * len(CLASSES),
    temperatures=[2.0] * len(CLASSES),
    topk=2,
    size=[4, 4],
    steps=[],
    mean=None,
    std=None,
    channels='rgb',
    max_pixels=None,
    outputs=['scores'],
    made_with={},
)


def test_rule_of_a_file():
    head = MultiLabelClsHead(thr=0.7)
    rule = find_rule(CLASSES, head, info=INFO)
    assert rule.decisions.thresholds.tolist() == INFO.thresholds
    assert rule.decisions.temperatures.tolist() == INFO.temperatures
    assert rule.topk == 2
    assert find_rule(CLASSES, head, topk=1, info=INFO).topk == 1
    assert find_rule(CLASSES, head, topk=3, info=INFO).topk == 2
    given = find_rule(CLASSES, head, thr=0.4, info=INFO)
    assert given.decisions.thresholds.tolist() == [0.4] * len(CLASSES)
    assert given.decisions.temperatures is None and given.topk is None
