# SPDX-License-Identifier: Apache-2.0
import copy
import json

import torch
from mmengine.config import Config
from torch import nn

from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.inference.decision_rule import DecisionRule
from mlcl_plugin.inference.made_with import describe_change, made_with


class Inferencer:
    """What :func:`made_with` looks at."""

    def __init__(self):
        self.model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.config = Config(
            dict(
                model=dict(type='A'),
                test_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadImage')])),
            )
        )
        self.dtype = None
        self.engine = 'torch'
        self.classes = ('cat', 'dog', 'owl')
        self.rule = DecisionRule(Decisions.uniform(self.classes, 0.5), None)


def test_what_decides_about_results():
    one = Inferencer()
    first = made_with(one, 'a.pth')
    assert json.loads(json.dumps(first)) == first
    assert (first['thresholds'], first['temperatures']) == (0.5, None)
    assert describe_change(first, made_with(one, 'elsewhere.pth')) is None

    def change(what):
        other = copy.deepcopy(one)
        what(other)
        return describe_change(first, made_with(other, 'b.pth')) or ''

    def set_to(**values):
        return lambda other: vars(other).update(values)

    def weights(other):
        other.model[0].bias.data[0] += 1e-6

    def statistics(other):
        other.model[1].num_batches_tracked += 1

    assert change(weights) == change(statistics) == 'other weights of the model, a.pth'
    assert change(set_to(dtype=torch.bfloat16)) == 'another precision, float32'
    assert change(set_to(engine='onnxruntime')) == 'another engine, torch'
    older = {key: value for key, value in first.items() if key != 'engine'}
    assert describe_change(older, first) is None
    decisions = Decisions(one.classes, [0.5, 0.4, 0.5], [1.0, 2.0, 3.0])
    assert 'thresholds' in change(set_to(rule=DecisionRule(decisions, None)))
    assert 'top_k' in change(set_to(rule=DecisionRule(one.rule.decisions, 2)))
    assert 'labels' in change(set_to(classes=('cat', 'owl', 'dog')))

    def pipeline(other):
        other.config.test_dataloader.dataset.pipeline[0]['color_type'] = 'grayscale'

    assert 'pipeline' in change(pipeline)
    assert 'scores' in describe_change(first, made_with(one, return_scores=True))


def test_records_of_another_form():
    """A record that somebody changed is another one, not a failure."""
    now = made_with(Inferencer())
    for key in ('labels', 'thresholds', 'topk', 'weights'):
        for value in (None, 7, 'x' * 10_000, [1], {'a': 1}):
            text = describe_change({**now, key: value}, now)
            assert text is None if value == now[key] else len(text) < 11_000
    text = describe_change({**now, 'thresholds': [0.5, 0.1, 0.2]}, now)
    assert text == 'other thresholds, [0.5, 0.1, 0.2]'
