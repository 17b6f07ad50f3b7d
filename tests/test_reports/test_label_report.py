# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.reports.label_report import label_report, predict_labels

CLASSES = ('cat', 'dog', 'owl')


def make_dump(num_images=50, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 2, (num_images, 3))
    scores = np.round(rng.random(targets.shape) * 0.7 + 0.3 * (targets == 1), 1)
    return ScoreDump(scores, targets, CLASSES, [str(i) for i in range(num_images)])


@pytest.mark.parametrize('temperatures', [None, [2.0, 0.5, 1.0]])
def test_against_scikit_learn(temperatures):
    dump = make_dump()
    decisions = Decisions(CLASSES, [0.45, 0.65, 0.3], temperatures)
    predicted = decisions.predict(dump.scores)
    rows = label_report(dump, decisions)
    for label, row in enumerate(rows):
        known = dump.targets[:, label] != -1
        truth = dump.targets[known, label]
        p, r, f1, support = precision_recall_fscore_support(
            truth, predicted[known, label], average='binary', zero_division=0
        )
        assert row['label'] == CLASSES[label]
        assert (row['precision'], row['recall'], row['F1']) == pytest.approx((p, r, f1))
        # AP is of the scores as they are
        expected = average_precision_score(truth, dump.scores[known, label])
        assert row['AP'] == pytest.approx(expected)
        assert row['support'] == truth.sum() and row['unknown'] == (~known).sum()
        assert row['predicted'] == predicted[known, label].sum()
        assert row['threshold'] == decisions.thresholds[label]
        if temperatures is None:
            assert math.isnan(row['temperature'])
        else:
            assert row['temperature'] == temperatures[label]


def test_one_threshold():
    """Compared in single precision, as by the metric."""
    dump = make_dump()
    predicted = predict_labels(dump, Decisions.uniform(CLASSES, 0.7))
    assert (predicted == (dump.scores > 0.65)).all()
    assert [
        row['threshold'] for row in label_report(dump, Decisions.uniform(CLASSES, 0.7))
    ] == [0.7] * 3


def test_labels_without_values():
    dump = ScoreDump([[0.9, 0.1], [0.1, 0.2]], [[0, 1], [0, 1]], 'ab', 'xy')
    never, silent = label_report(dump, Decisions.uniform(['a', 'b'], 0.5))
    assert never['precision'] == 0 and never['predicted'] == 1
    assert all(math.isnan(never[key]) for key in ('AP', 'recall', 'F1'))
    assert math.isnan(silent['precision']) and silent['recall'] == silent['F1'] == 0


def test_other_labels():
    with pytest.raises(ValueError, match='another order'):
        predict_labels(make_dump(), Decisions(CLASSES[::-1], [0.5] * 3))
