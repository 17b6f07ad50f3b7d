# SPDX-License-Identifier: Apache-2.0
"""Thresholds and temperatures of each label in the metric."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score

from mlcl_plugin.evaluation import (
    MultiLabelRecognitionMetric,
    average_precision,
    precision_recall_f1,
)
from mlcl_plugin.evaluation.decisions import Decisions

CLASSES = ('cat', 'dog', 'owl', 'cow')
calculate = MultiLabelRecognitionMetric.calculate


def make_case(num_images=80, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(-1, 2, (num_images, 4), generator=generator)
    scores = torch.rand(num_images, 4, generator=generator) * 0.7
    return scores + 0.3 * (targets == 1), targets


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**31),
    num_images=st.integers(1, 60),
    num_classes=st.integers(1, 5),
    grid=st.sampled_from([1, 2, 5, 50, 10**6]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_average_precision_is_scikit_learns(seed, num_images, num_classes, grid, dtype):
    """On random data with ties and unknown entries, of any order of the rows."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 2, (num_images, num_classes))
    scores = (rng.integers(0, grid + 1, targets.shape) / grid).astype(dtype)
    result = average_precision(scores, targets)
    for label in range(num_classes):
        known = targets[:, label] != -1
        truth = targets[known, label]
        if truth.sum() == 0:
            assert math.isnan(result[label])
            continue
        expected = average_precision_score(truth, scores[known, label])
        assert result[label].item() == pytest.approx(expected, abs=1e-12)
    order = rng.permutation(num_images)
    again = average_precision(scores[order], targets[order])
    assert torch.equal(result.nan_to_num(-1), again.nan_to_num(-1))


def test_one_threshold_a_class():
    scores, targets = make_case()
    thr = [0.3, 0.5, 0.6, 0.9]
    result = calculate(scores, targets, thr, topk=None)
    expected = precision_recall_f1(scores >= torch.tensor(thr), targets)
    for key, value in expected.items():
        assert result[key] == 100 * value, key
    assert result['mAP'] == calculate(scores, targets)['mAP']
    for form in (tuple, np.array, torch.tensor):
        assert calculate(scores, targets, form(thr), topk=None) == result


def test_equal_thresholds_are_one_threshold():
    """In the precision of the scores, and among the top 3 as well."""
    scores, targets = make_case()
    scores[:10] = 0.7
    for topk in (1, 3, None):
        expected = calculate(scores, targets, 0.7, topk)
        assert calculate(scores, targets, [0.7] * 4, topk) == expected
        decisions = Decisions(CLASSES, [0.7] * 4)
        assert calculate(scores, targets, topk=topk, decisions=decisions) == expected
        # neutral temperatures, away from scores that are equal to the threshold
        away, warm = scores[10:], Decisions(CLASSES, [0.7] * 4, [1.0] * 4)
        assert calculate(away, targets[10:], topk=topk, decisions=warm) == calculate(
            away, targets[10:], 0.7, topk
        )


def oracle_topk(scores, predicted, k):
    """Of the predicted labels of each image, those of the k highest scores."""
    mask = torch.zeros_like(predicted)
    for row in range(len(scores)):
        labels = [i for i in range(scores.shape[1]) if predicted[row, i]]
        labels.sort(key=lambda label: (-scores[row, label].item(), label))
        mask[row, labels[:k]] = True
    return mask


@pytest.mark.parametrize('k', [1, 2, 3])
@pytest.mark.parametrize('temperatures', [None, [0.3, 1, 2, 5]])
def test_top_k(k, temperatures):
    scores, targets = make_case()
    decisions = Decisions(CLASSES, [0.2, 0.45, 0.5, 0.4], temperatures)
    ranked = decisions.calibrate(scores)
    mask = oracle_topk(ranked, decisions.predict(scores), k)
    expected = precision_recall_f1(mask, targets)
    result = calculate(scores, targets, topk=k, decisions=decisions)
    for key, value in expected.items():
        assert result[f'top{k}_{key}'] == 100 * value, key
    if temperatures is None:
        assert calculate(scores, targets, decisions.thresholds, k) == result


def run(metric, scores, targets, classes=CLASSES):
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = {'classes': classes} if classes else {}
    for start in range(0, len(scores), 16):
        evaluator.process(
            [
                DataSample().set_pred_score(s).set_gt_score(t)
                for s, t in zip(scores[start : start + 16], targets[start : start + 16])
            ]
        )
    return evaluator.evaluate(len(scores))


def test_decisions_in_a_config(tmp_path):
    scores, targets = make_case()
    decisions = Decisions(CLASSES, [0.3, 0.5, 0.6, 0.7], [2.0, 1.0, 0.5, 1.5])
    path = str(tmp_path / 'decisions.json')
    decisions.save(path)
    expected = calculate(scores, targets, decisions=decisions)
    for given_ in (path, decisions):
        metric = METRICS.build(
            dict(type='MultiLabelRecognitionMetric', decisions=given_)
        )
        result = run(metric, scores, targets)
        assert result == {f'multi-label/{k}': v for k, v in expected.items()}
    metric = METRICS.build(
        dict(type='MultiLabelRecognitionMetric', thr=decisions.thresholds.tolist())
    )
    result = run(metric, scores, targets, classes=None)
    expected = calculate(scores, targets, decisions.thresholds)
    assert result == {f'multi-label/{k}': v for k, v in expected.items()}


def test_calibration_does_not_touch_ap():
    """Also where sharper scores would be equal in single precision."""
    logits = torch.linspace(9, 16, 40)[:, None]
    targets = (torch.arange(40) % 3 == 0).long()[:, None]
    decisions = Decisions(['cat'], [0.5], [0.1])
    result = calculate(logits.sigmoid(), targets, decisions=decisions)
    assert result['mAP'] == calculate(logits.sigmoid(), targets)['mAP']


@pytest.mark.parametrize(
    ('thr', 'message'),
    [
        ([0.5, 0.5], r'thr has 2 thresholds, expected .* each of the 4 classes'),
        ([[0.5] * 4], 'thr must be a finite number or K of them'),
        ([0.5, math.nan, 0.5, 0.5], 'thr must be a finite number or K of them'),
        (['high'] * 4, 'thr must hold numbers'),
        ('0.5', 'thr must be a finite number'),
        (True, 'thr must be a finite number'),
        (None, 'thr must be a finite number'),
    ],
)
def test_bad_thresholds(thr, message):
    scores, targets = make_case()
    with pytest.raises(ValueError, match=message):
        calculate(scores, targets, thr)
    with pytest.raises(ValueError, match=message):
        run(MultiLabelRecognitionMetric(thr=thr), scores, targets)


def test_bad_decisions(tmp_path):
    """Told by the first batch, not after a whole round."""
    scores, targets = make_case(8)
    sample = [DataSample().set_pred_score(scores[0]).set_gt_score(targets[0]).to_dict()]
    others = MultiLabelRecognitionMetric(decisions=Decisions(CLASSES[::-1], [0.5] * 4))
    others.dataset_meta = dict(classes=CLASSES)
    with pytest.raises(ValueError, match='another order'):
        others.process(None, sample)
    fewer = MultiLabelRecognitionMetric(decisions=Decisions(CLASSES[:3], [0.5] * 3))
    with pytest.raises(ValueError, match=r'Expected scores \(\.\.\., 3\)'):
        fewer.process(None, sample)
    logits = DataSample().set_pred_score(5 * scores[0]).set_gt_score(targets[0])
    metric = MultiLabelRecognitionMetric(decisions=Decisions(CLASSES, [0.5] * 4))
    with pytest.raises(ValueError, match='Scores must be from 0 to 1'):
        metric.process(None, [logits.to_dict()])
    with pytest.raises(FileNotFoundError, match='no decision file .*gone.json'):
        MultiLabelRecognitionMetric(decisions=str(tmp_path / 'gone.json'))
    with pytest.raises(ValueError, match='another order'):
        calculate(
            scores, targets, class_names=CLASSES[::-1], decisions=metric.decisions
        )
