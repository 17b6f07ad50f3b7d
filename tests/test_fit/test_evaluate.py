# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.fit.baseline import fit_baseline
from mlcl_plugin.fit.evaluate import (
    LINEAR,
    MODEL,
    NEAREST,
    evaluate_part,
    find_decisions,
)
from mlcl_plugin.fit.report import foretold, label_table, overview, report_text, verdict


def dump_of(targets, seed=0, noise=0.2):
    targets = np.asarray(targets)
    rng = np.random.default_rng(seed)
    scores = 0.5 + 0.3 * (targets == 1) - 0.3 * (targets == 0)
    scores = (scores + rng.uniform(-noise, noise, targets.shape)).clip(0, 1)
    classes = [f'label{place}' for place in range(targets.shape[1])]
    return ScoreDump(scores, targets, classes, [str(n) for n in range(len(targets))])


def many(number=60):
    return (np.random.default_rng(1).random((number, 3)) < 0.4).astype(int)


def judge(dump, name='val', noise=0.6):
    worse = dump_of(dump.targets, seed=1, noise=noise).scores
    found = find_decisions(dump)
    decisions = dict.fromkeys((MODEL, LINEAR, NEAREST), found.decisions)
    return found, evaluate_part(name, dump, {LINEAR: worse, NEAREST: worse}, decisions)


def test_a_better_model_is_called_better():
    found, part = judge(dump_of(many()))
    assert found.notes == []
    assert found.report is not None
    assert verdict(part).endswith('better')
    assert part.of(MODEL).comparison.differences['mAP'].low > 0
    assert 'label0' in label_table(part)
    assert len(label_table(part, most=1).splitlines()) == 3
    assert 'model minus regression' in overview([part])


@pytest.mark.parametrize('number', [29, 30])
def test_few_images_give_intervals_that_are_not_trusted(number):
    notes = find_decisions(dump_of(many(number))).notes
    text = '29 validation images are too few to trust their intervals'
    assert (text in notes) == (number < 30)


def test_markup_in_names_is_text_in_the_report():
    found, part = judge(dump_of(many()))
    facts, notes = [('data', '<i>.csv')], ['<b>: few images']
    text = report_text('Fit of *a*', facts, [part], found.decisions, None, notes, [])
    assert text.startswith('# Fit of \\*a\\*\n')
    assert '- \\<b\\>: few images.\n' in text and '\\<i\\>.csv' in text


def test_equal_models_are_not_told_apart():
    dump = dump_of(many())
    found = find_decisions(dump)
    same = {LINEAR: dump.scores, NEAREST: dump.scores}
    decisions = dict.fromkeys((MODEL, LINEAR, NEAREST), found.decisions)
    part = evaluate_part('val', dump, same, decisions)
    assert verdict(part).endswith('a difference is not shown')


def test_what_was_foretold_is_compared_with_the_test():
    found, _ = judge(dump_of(many()))
    _, test = judge(dump_of(many(80), seed=3), 'test')
    lines = foretold(found.report, [test])
    low, high = (100 * end for end in found.report.after.rates['CF1'][1:])
    value = 100 * test.of(MODEL).estimates['CF1'].value
    assert f'{value:.2f}' in lines[1]
    assert ('within' in lines[1]) == (low <= value <= high)
    assert foretold(None, [test]) == []


@pytest.mark.parametrize(
    ('targets', 'notes'),
    [
        ([[1, 0], [0, 1], [1, 0], [0, 0]], 1),
        ([[1, 0], [0, 0], [1, 0]], 2),
        ([[1, 1], [0, 1], [1, 1], [0, 1]], 2),
        ([[1], [0]], 1),
        ([[1]], 2),
        ([[0, 0], [0, 0]], 2),
        ([[-1, -1]], 2),
    ],
)
def test_few_images_of_a_label(targets, notes):
    dump = dump_of(targets)
    found, part = judge(dump)
    assert len(found.notes) >= notes
    assert len(found.decisions.thresholds) == dump.targets.shape[1]
    assert isinstance(verdict(part), str)
    assert overview([part]) and label_table(part)


def test_baseline_learns_and_names_its_strength():
    generator = torch.Generator().manual_seed(0)
    pooled = torch.rand(40, 6, generator=generator)
    targets = (pooled[:, :2] > 0.5).to(torch.int8)
    baseline = fit_baseline(pooled, targets)
    linear, nearest = baseline.linear_scores(pooled), baseline.neighbour_scores(pooled)
    assert ((linear > 0.5) == (targets.numpy() == 1)).mean() > 0.9
    assert 0 < baseline.tuned_ap <= 1
    assert linear.shape == nearest.shape == (40, 2)
    assert not np.isnan(nearest).any()


def test_baseline_of_one_image():
    targets = torch.tensor([[1, 0]], dtype=torch.int8)
    baseline = fit_baseline(torch.rand(1, 4), targets)
    assert math.isnan(baseline.tuned_ap)
    scores = baseline.neighbour_scores(torch.rand(2, 4))
    # The frequency, as nearest images cannot vote.
    assert scores == pytest.approx(np.array([[2 / 3, 1 / 3]] * 2))
