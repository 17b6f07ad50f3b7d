# SPDX-License-Identifier: Apache-2.0
"""What the weights that come with the package answer, without config and network."""

import json

import numpy as np
import pytest
from mmpretrain import get_model

from mlcl_plugin.commands import main
from mlcl_plugin.digits_demo.parts import photograph
from mlcl_plugin.errors import OtherLabelsError
from mlcl_plugin.inference import MultiLabelInferencer

WEIGHTS = 'mlcl://mlcl_efflite0_voc07'


@pytest.fixture(scope='module')
def inferencer():
    return MultiLabelInferencer(device='cpu')


def test_python(inferencer):
    (answer,) = inferencer(photograph())
    assert [label['label'] for label in answer['labels']] == ['person']
    assert answer['labels'][0]['score'] > 0.9
    rule = inferencer.rule.decisions
    assert 0.5 not in rule.thresholds and rule.temperatures is not None
    assert all(memory.is_filled for memory in inferencer.model.memories)


def test_command(inferencer, capsys, monkeypatch):
    monkeypatch.setattr('mlcl_plugin.engine.keep_memory', lambda: None)
    assert main(['infer', str(photograph()), '--device', 'cpu']) == 0
    line = json.loads(capsys.readouterr().out)
    assert line == inferencer(photograph())[0]


def test_models_of_mmpretrain(inferencer):
    whole = get_model('mlcl_efflite0_voc07_small', pretrained=True)
    own = MultiLabelInferencer(whole, device='cpu')
    scores = [
        x(photograph(), return_scores=True)[0]['scores']['person']
        for x in (own, MultiLabelInferencer(whole, WEIGHTS, device='cpu'), inferencer)
    ]
    # get_model tells no thresholds and temperatures.
    assert own.rule.decisions.thresholds.tolist() == [0.5] * 20
    assert scores[1] == scores[2]
    classifier = get_model('mlcl_efflite0_voc07', pretrained=True)
    alone = MultiLabelInferencer(classifier, device='cpu')
    assert alone.classes == inferencer.classes
    answer = alone(photograph())[0]['labels']
    assert [label['label'] for label in answer] == ['person']


def test_thresholds_are_those_of_the_blend():
    alone = MultiLabelInferencer('mlcl_efflite0_voc07', device='cpu')
    assert np.unique(alone.rule.decisions.thresholds).tolist() == [0.5]


def test_other_labels():
    with pytest.raises(OtherLabelsError, match='the checkpoint'):
        MultiLabelInferencer(device='cpu', classes=[f'{i}' for i in range(20)])
    with pytest.raises(ValueError, match='Got 2 names of labels, but the model has 20'):
        MultiLabelInferencer(device='cpu', classes=['cat', 'dog'])
