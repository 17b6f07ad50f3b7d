# SPDX-License-Identifier: Apache-2.0
import json
import math

import numpy as np
import pytest
import torch

from mlcl_plugin.errors import OtherLabelsError
from mlcl_plugin.evaluation.decisions import Decisions

CLASSES = ('cat', 'dog', 'Käuzchen | "groß"')


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize('temperatures', [None, [0.5, 1.0, 3.25]])
def test_save_and_load(tmp_path, temperatures):
    info = dict(target='f1', folds=5)
    decisions = Decisions(CLASSES, [0.1, 1 / 3, 0.7], temperatures, info)
    path = tmp_path / 'new' / 'decisions.json'
    decisions.save(path)
    loaded = Decisions.load(path)
    assert loaded.classes == CLASSES and loaded.info == info
    assert (loaded.thresholds == decisions.thresholds).all()
    if temperatures is None:
        assert loaded.temperatures is None
    else:
        assert loaded.temperatures.tolist() == temperatures
    content = json.loads(path.read_text(encoding='utf-8'))
    assert list(content) == ['classes', 'thresholds', 'temperatures', 'info']


@pytest.mark.parametrize('kind', ['numpy', 'torch'])
def test_calibrate_and_predict(kind):
    decisions = Decisions(CLASSES, [0.75, 0.6, 0.5], [2.0, 0.5, 1.0])
    scores = np.array([[0.9, 0.6, 0.2], [0.89, 0.5, 0.5]])
    expected = [
        [sigmoid(math.log(s / (1 - s)) / t) for s, t in zip(row, (2.0, 0.5, 1.0))]
        for row in scores
    ]
    given = scores if kind == 'numpy' else torch.from_numpy(scores)
    calibrated, predicted = decisions.calibrate(given), decisions.predict(given)
    assert isinstance(calibrated, type(given)) and isinstance(predicted, type(given))
    np.testing.assert_allclose(calibrated, expected, rtol=1e-12)
    assert predicted.tolist() == [[True, True, False], [False, False, True]]
    # any number of dimensions
    assert decisions.predict(given[0]).tolist() == [True, True, False]


def test_certain_scores_move_and_stay_in_order():
    scores = torch.tensor([0, 1e-45, 1e-30, 0.5, 1 - 2**-24, 1], dtype=torch.float32)
    scores = scores[:, None].expand(-1, 3)
    for temperature in (0.2, 1.0, 5.0):
        decisions = Decisions(CLASSES, [0.5] * 3, [temperature] * 3)
        calibrated = decisions.calibrate(scores)
        assert calibrated.dtype == torch.float64 and calibrated.isfinite().all()
        assert (calibrated.diff(dim=0) > 0).all() or temperature == 0.2
        assert (calibrated.diff(dim=0) >= 0).all()
    assert (calibrated[-1] < 0.98).all() and (calibrated[0] > 1e-12).all()


def test_precision_without_temperatures():
    """As one threshold for all is compared by the metric."""
    decisions = Decisions(CLASSES, [0.7] * 3)
    scores = torch.full((1, 3), 0.7)
    assert decisions.predict(scores).all()
    assert not decisions.predict(scores.double()).any()
    assert (decisions.calibrate(scores) == scores.double()).all()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ((['a', 'a'], [0.5, 0.5]), r"twice came \['a'\]"),
        (([], []), 'classes must be a list of names'),
        (('cat', [0.5] * 3), 'classes must be a list of names'),
        (([1, 2], [0.5, 0.5]), 'classes must be strings'),
        ((['a', 'b'], [0.5]), r'2 numbers, one for each class, got the shape \(1,\)'),
        ((['a', 'b'], [0.5, math.nan]), "thresholds must be finite, got nan for 'b'"),
        ((['a', 'b'], ['x', 1]), 'thresholds must be numbers'),
        ((['a', 'b'], [0.5, 1], [1, 0]), "must be positive, got 0.0 for 'b'"),
        ((['a', 'b'], [0.5, 1], None, []), 'info must be a dict'),
    ],
)
def test_bad_decisions(args, message):
    with pytest.raises(ValueError, match=message):
        Decisions(*args)


def test_check():
    decisions = Decisions(CLASSES, [0.5] * 3)
    decisions.check(list(CLASSES))
    message = "another order: label 0 is 'cat' in the decisions, expected '{}'"
    with pytest.raises(OtherLabelsError, match=message.format(CLASSES[2])):
        decisions.check(CLASSES[::-1])
    message = "other names: label 1 is 'dog' in the decisions, expected 'owl'"
    with pytest.raises(OtherLabelsError, match=message):
        decisions.check(['cat', 'owl', CLASSES[2]])
    with pytest.raises(OtherLabelsError, match='3 labels in the decisions, expected 2'):
        decisions.check(CLASSES[:2])


@pytest.mark.parametrize(
    ('scores', 'message'),
    [
        (np.zeros((2, 4)), r'Expected scores \(..., 3\).*got \(2, 4\)'),
        (np.array(0.5), r'got \(\)'),
        (np.array([0.5, 1.5, 0]), 'Scores must be from 0 to 1, got 1.5'),
        (np.array([0.5, np.nan, 0]), 'Scores must be from 0 to 1, got nan'),
    ],
)
def test_bad_scores(scores, message):
    decisions = Decisions(CLASSES, [0.5] * 3)
    for call in (decisions.calibrate, decisions.predict):
        with pytest.raises(ValueError, match=message):
            call(scores)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='no decision file .*gone.json'):
        Decisions.load(tmp_path / 'gone.json')
    path = tmp_path / 'bad.json'
    for content, message in (
        ('{', 'bad.json is no decision file'),
        ('[1]', 'expected an object with classes and thresholds, got'),
        ('{"classes": ["a"]}', 'classes and thresholds'),
        (
            '{"classes": ["a"], "thresholds": [0.5], "t": 1}',
            r"unknown keys \['t'\]",
        ),
        ('{"classes": ["a"], "thresholds": [0.5, 1]}', 'bad.json .*must be 1 numbers'),
        ('{"classes": 5, "thresholds": [0.5]}', 'bad.json is no decision file'),
        ('{"classes": ["a"], "thresholds": [NaN]}', 'must be finite'),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            Decisions.load(path)
    decisions = Decisions(['a'], [0.5], info=dict(x=math.nan))
    with pytest.raises(ValueError, match='not JSON compliant'):
        decisions.save(path)
    assert 'NaN' in path.read_text()


def test_any_scale(tmp_path):
    """Logits, and thresholds for them; never in a file."""
    logits = torch.tensor([[2.5, -3.0], [0.7, 0.7]])
    decisions = Decisions.uniform(['a', 'b'], 0.7, any_scale=True)
    assert decisions.predict(logits).tolist() == [[True, False], [True, True]]
    with pytest.raises(ValueError, match=r'Expected scores \(\.\.\., 2\)'):
        decisions.predict(logits[:, :1])
    with pytest.raises(ValueError, match='any_scale=True'):
        decisions.save(tmp_path / 'decisions.json')
    with pytest.raises(ValueError, match='temperatures need scores from 0 to 1'):
        Decisions(['a'], [0.5], [2.0], any_scale=True)
    with pytest.raises(ValueError, match='Scores must be from 0 to 1, got 2.5'):
        Decisions.uniform(['a', 'b'], 0.7).predict(logits)


def test_from_thr():
    assert Decisions.from_thr(-1, 3).thresholds.tolist() == [-1, -1, -1]
    decisions = Decisions.from_thr((0.25, 3), 2)
    assert decisions.thresholds.tolist() == [0.25, 3]
    assert decisions.classes == ('0', '1') and decisions.any_scale
    with pytest.raises(ValueError, match='thr has 2 thresholds, expected .* 3 classes'):
        Decisions.from_thr([0.5, 0.5], 3)


@pytest.mark.parametrize('thresholds', [[50.0, 30.0], [0.5, 1.5], [-0.1, 0.5]])
def test_file_in_percent(tmp_path, thresholds):
    """A threshold of 50 would find no label, and say nothing."""
    path = tmp_path / 'decisions.json'
    Decisions(['cat', 'dog'], thresholds).save(path)
    message = (
        r'decisions.json: thresholds must be from 0 to 1, got .* Divide percent by'
    )
    with pytest.raises(ValueError, match=message):
        Decisions.load(path)


def test_files_of_editors_and_strangers(tmp_path):
    path = tmp_path / 'decisions.json'
    Decisions(['cat', 'dog'], [0.0, 1.0]).save(path)
    path.write_text(path.read_text(), encoding='utf-8-sig')
    assert Decisions.load(path).thresholds.tolist() == [0.0, 1.0]
    path.write_text('[' * 100_000)
    with pytest.raises(ValueError, match='decisions.json is no decision file'):
        Decisions.load(path)
