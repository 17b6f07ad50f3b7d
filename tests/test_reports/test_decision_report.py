# SPDX-License-Identifier: Apache-2.0
import json
import math

import numpy as np
import pytest

from mlcl_plugin.evaluation import MultiLabelRecognitionMetric, precision_recall_f1
from mlcl_plugin.evaluation.calibration import expected_calibration_error
from mlcl_plugin.evaluation.cross_fitting import DecisionRecipe, cross_fit
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.evaluation.thresholds import ThresholdTarget
from mlcl_plugin.reports.decision_report import ReportOptions, decision_report
from mlcl_plugin.reports.label_report import label_report

CLASSES = ('cat', 'dog', 'owl')
OPTIONS = ReportOptions(num_resamples=50, num_folds=3, num_bins=10)


def make_dump(num_images=150, seed=0):
    """Scores that are too low, and too sharp for the second label."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 2, (num_images, 3))
    targets = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    targets[rng.random(targets.shape) < 0.05] = -1
    scores = 1 / (1 + np.exp(1.5 - logits * [1, 3, 1]))
    return ScoreDump(scores, targets, CLASSES, [str(i) for i in range(num_images)])


@pytest.mark.parametrize('calibrate', ['none', 'per-label'])
def test_rates(calibrate):
    dump = make_dump()
    recipe = DecisionRecipe(calibrate=calibrate)
    report = decision_report(dump, recipe, OPTIONS)
    crossed = cross_fit(recipe, dump.scores, dump.targets, CLASSES, 3)
    for judgement, scores, predicted in (
        (report.before, dump.scores, dump.scores >= 0.5),
        (report.after, *crossed),
        (
            report.in_sample,
            report.decisions.calibrate(dump.scores),
            report.decisions.predict(dump.scores),
        ),
    ):
        expected = precision_recall_f1(predicted, dump.targets)
        for key, (value, low, high) in judgement.rates.items():
            assert value == pytest.approx(expected[key])
            assert low < value < high
        error = expected_calibration_error(scores, dump.targets, 10)
        assert judgement.error == error
    for key, (value, low, high) in report.gain.items():
        after, before = report.after.rates[key], report.before.rates[key]
        assert value == pytest.approx(after[0] - before[0]) and low < value < high
    assert report.gain['CF1'][1] > 0
    assert report.in_sample.rates['OF1'][0] > report.after.rates['OF1'][0]

    rows = label_report(dump, Decisions.uniform(CLASSES, 0.5))
    for row, expected in zip(report.labels, rows):
        for key in ('precision', 'recall', 'F1'):
            assert row[f'{key.lower()}_before'] == pytest.approx(expected[key])

    # What the file says is what the metric finds with it.
    metric = MultiLabelRecognitionMetric.calculate(
        dump.scores, dump.targets, decisions=report.decisions
    )
    info = report.decisions.info
    assert info['after_in_sample_too_good']['CF1'][0] == pytest.approx(
        metric['CF1'], abs=1e-3
    )
    assert info['num_folds'] == 3 and info['calibrate'] == calibrate
    json.dumps(info, allow_nan=False)


def test_labels_and_notes():
    dump = make_dump()
    targets = dump.targets.copy()
    targets[:, 0] = -1
    dump = ScoreDump(dump.scores, targets, CLASSES, dump.images)
    recipe = DecisionRecipe(ThresholdTarget('precision', 1.0), calibrate='per-label')
    # the most certain owl is none
    scores = dump.scores.copy()
    scores[np.flatnonzero(targets[:, 2] == 0)[0], 2] = 1
    dump = ScoreDump(scores, targets, CLASSES, dump.images)
    report = decision_report(dump, recipe, OPTIONS)
    cat, dog, owl = report.labels
    assert cat['note'].startswith('no positive') and cat['support'] == 0
    assert math.isnan(cat['f1_after']) and math.isnan(cat['ece_before'])
    assert owl['note'] == 'no cut reaches precision=1' and dog['note'] == ''
    assert report.decisions.info['notes'].keys() == {'cat', 'owl'}
    json.dumps(report.decisions.info, allow_nan=False)


def test_notes_on_temperatures():
    """Of few images, and where the scores leave no mistake to learn from."""
    dump = make_dump()
    targets = dump.targets.copy()
    targets[np.flatnonzero(targets[:, 0] == 1)[5:], 0] = 0
    scores = dump.scores.copy()
    scores[:, 1] = np.where(targets[:, 1] == 1, 0.6, 0.4)
    dump = ScoreDump(scores, targets, CLASSES, dump.images)
    for calibrate in ('per-label', 'global'):
        recipe = DecisionRecipe(per_label=False, calibrate=calibrate)
        cat, dog, _ = decision_report(dump, recipe, OPTIONS).labels
        own = calibrate == 'per-label'
        assert ('fewer than 20 positives' in cat['note']) == own
        assert ('temperature at its bound' in dog['note']) == own


def test_bad_input():
    dump = make_dump(10)
    with pytest.raises(ValueError, match='number of folds'):
        decision_report(dump, DecisionRecipe(), ReportOptions(num_folds=11))
    logits = ScoreDump(dump.scores * 5, dump.targets, CLASSES, dump.images)
    with pytest.raises(ValueError, match='Scores must be from 0 to 1'):
        decision_report(logits, DecisionRecipe())
