# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.evaluation import (
    MultiLabelRecognitionMetric,
    average_precision,
    bootstrap,
)
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.reports import dump_comparison
from mlcl_plugin.reports.dump_comparison import (
    METRICS,
    adjust_p_values,
    align_dumps,
    bootstrap_report,
    permutation_test,
)

CLASSES = ('cat', 'dog', 'owl')


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def make_dumps(num_images=200, noises=(1.0, 1.0), seed=0):
    """Models that see the same images, each with noise of its own."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, 3)) < 0.3).astype(int)
    targets[rng.random(targets.shape) < 0.05] = -1
    seen = 3 * (targets == 1) - 1.5 + rng.normal(size=targets.shape)
    images = [f'a/{number}.jpg' for number in range(num_images)]
    return [
        ScoreDump(
            sigmoid(seen + noise * rng.normal(size=seen.shape)),
            targets,
            CLASSES,
            images,
        )
        for noise in noises
    ]


def predictions(dumps):
    return [dump.scores >= 0.5 for dump in dumps]


def test_values_are_those_of_the_metric():
    dumps = make_dumps()
    report = bootstrap_report(dumps, predictions(dumps), num_resamples=100)
    assert len(report.metrics) == len(report.label_ap) == 2
    for dump, values, labels in zip(dumps, report.metrics, report.label_ap):
        expected = MultiLabelRecognitionMetric.calculate(dump.scores, dump.targets)
        assert tuple(values) == METRICS
        for key, estimate in values.items():
            assert 100 * estimate.value == pytest.approx(expected[key], rel=1e-6)
            assert 0 <= estimate.low < estimate.value < estimate.high <= 1
        for estimate, ap in zip(labels, average_precision(dump.scores, dump.targets)):
            assert estimate.value == pytest.approx(ap.item(), rel=1e-6)
    (comparison,) = report.comparisons
    first, second = report.metrics
    for key, estimate in comparison.differences.items():
        assert estimate.value == pytest.approx(second[key].value - first[key].value)
        assert estimate.low < estimate.value < estimate.high


def test_pairs_tell_more_than_intervals():
    """What makes images hard is the same for both models."""
    dumps = make_dumps(300, noises=(0.1, 0.15))
    report = bootstrap_report(dumps, predictions(dumps), num_resamples=300)
    wide = [values['mAP'].high - values['mAP'].low for values in report.metrics]
    difference = report.comparisons[0].differences['mAP']
    assert difference.high - difference.low < 0.8 * min(wide)


def test_same_seed_same_report(monkeypatch):
    dumps = make_dumps(60)
    report = bootstrap_report(dumps, predictions(dumps), 50, seed=4)
    assert report == bootstrap_report(dumps, predictions(dumps), 50, seed=4)
    assert report != bootstrap_report(dumps, predictions(dumps), 50, seed=5)
    # nor does it depend on blocks
    for module in (bootstrap, dump_comparison):
        monkeypatch.setattr(module, 'BLOCK_ENTRIES', 60 * 2 * 7)
    assert report == bootstrap_report(dumps, predictions(dumps), 50, seed=4)


def test_permutation_by_hand():
    """Against a loop that swaps images and calls the metric."""
    dumps = make_dumps(12, seed=3)
    result = permutation_test(
        dumps[0], *predictions(dumps[:1]), dumps[1], *predictions(dumps[1:]), 2000
    )
    rng = np.random.default_rng(1)
    sizes = {key: [] for key in METRICS}
    for number in range(120):
        swap = (rng.random(12) < 0.5)[:, None] & (number > 0)
        sides = []
        for a, b in ((0, 1), (1, 0)):
            scores = np.where(swap, dumps[b].scores, dumps[a].scores)
            mask = np.where(swap, *(predictions(dumps)[i] for i in (b, a)))
            values = MultiLabelRecognitionMetric.calculate(
                mask.astype(float), dumps[0].targets
            )
            values['mAP'] = 100 * average_precision(scores, dumps[0].targets).nanmean()
            sides.append(values)
        for key, values in sizes.items():
            values.append(abs(float(sides[1][key] - sides[0][key])))
    for key, values in sizes.items():
        expected = np.mean(np.array(values) >= values[0] - 1e-5)
        assert result[key] == pytest.approx(expected, abs=0.16), key


def test_permutation_finds_a_better_model():
    dumps = make_dumps(200, noises=(0.2, 4.0))
    p_values = bootstrap_report(dumps, predictions(dumps), 199).comparisons[0].p_values
    assert p_values['mAP'] == p_values['CF1'] == 1 / 200
    # nothing is as large as no difference
    same = [dumps[0], dumps[0]]
    p_values = bootstrap_report(same, predictions(same), 50).comparisons[0].p_values
    assert set(p_values.values()) == {1.0}


def test_permutation_of_scales():
    """Scores half as large for the same ranks are no difference."""
    first = make_dumps(100)[0]
    other = ScoreDump(first.scores / 2, first.targets, CLASSES, first.images)
    mask = first.scores >= 0.5
    assert permutation_test(first, mask, other, mask, 50)['mAP'] == 1


def test_permutation_level():
    """Equal models rarely seem to differ."""
    p_values = []
    for seed in range(60):
        dumps = make_dumps(60, seed=seed)
        (first, second), masks = dumps, predictions(dumps)
        result = permutation_test(first, masks[0], second, masks[1], 99, seed)
        p_values.append([result['mAP'], result['OF1']])
    # of 60, 3 are expected; 10 are one case in 1,000
    assert (np.sum(np.array(p_values) <= 0.05, axis=0) < 10).all()
    assert (np.mean(p_values, axis=0) > 0.35).all()


def test_permutation_level_of_similar_models():
    """Equal models whose scores differ by little more than nothing."""
    p_values = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        base = rng.random((100, 1))
        targets = (rng.random((100, 1)) < 0.3).astype(int)
        noise = rng.normal(scale=1e-4, size=(2, 100, 1))
        first, second = (
            ScoreDump(
                np.clip(base + part, 0, 1),
                targets,
                ('cat',),
                [str(i) for i in range(100)],
            )
            for part in noise
        )
        mask = base >= 0.5
        p_values.append(permutation_test(first, mask, second, mask, 99, seed)['mAP'])
    # of 100, 5 are expected; 13 are less than one case in 1,000
    assert np.sum(np.array(p_values) <= 0.05) < 13


def test_permutation_without_a_figure():
    """There is no AP of a label that is never present."""
    dumps = make_dumps(20)
    dumps = [
        ScoreDump(dump.scores, 0 * dump.targets, CLASSES, dump.images) for dump in dumps
    ]
    result = permutation_test(
        dumps[0], *predictions(dumps[:1]), dumps[1], *predictions(dumps[1:]), 50
    )
    assert np.isnan(result['mAP'])


def test_holm():
    assert adjust_p_values([0.01, float('nan'), 0.04]) == pytest.approx(
        [0.02, float('nan'), 0.04], nan_ok=True
    )
    assert adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_p_values([0.5, 0.9]) == [1, 1]
    assert adjust_p_values([0.2]) == [0.2] and adjust_p_values([]) == []


def changed(dump, **changes):
    fields = dict(
        scores=dump.scores,
        targets=dump.targets,
        classes=dump.classes,
        images=dump.images,
    )
    return ScoreDump(**{**fields, **changes})


def test_align():
    first, other = make_dumps(20)
    order = np.random.default_rng(0).permutation(20)
    shuffled = changed(
        other,
        scores=other.scores[order],
        targets=other.targets[order],
        images=[other.images[i] for i in order],
    )
    elsewhere = changed(
        shuffled,
        images=[name.replace('a/', '/else/where/') for name in shuffled.images],
    )
    for dump in (shuffled, elsewhere):
        aligned = align_dumps(first, dump)
        assert (aligned.scores == other.scores).all()
        assert aligned.images == first.images


def test_dumps_that_differ():
    first, other = make_dumps(4)
    cases = [
        (dict(classes=CLASSES[::-1]), 'The labels differ in their order'),
        (dict(classes=['cat', 'dog', 'cow']), r"missing \['owl'\], added \['cow'\]"),
        (
            dict(images=['a/0.jpg', 'a/1.jpg', 'a/2.jpg', 'b/9.jpg']),
            r"1 are missing, such as \['a/3.jpg'\], and 1 .*\['b/9.jpg'\]",
        ),
        (dict(images=['a/0.jpg'] * 4), "'a/0.jpg' comes 4 times"),
        (
            dict(targets=1 - np.abs(first.targets)),
            r"targets differ, the first one is '\w+' of a/\d.jpg: \d and \d",
        ),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            align_dumps(first, changed(other, **changes))
    # files of one name in two folders
    images = ['a/0.jpg', 'b/0.jpg', 'c/0.jpg', 'd/0.jpg']
    with pytest.raises(ValueError, match='The images differ: 3 are missing'):
        align_dumps(changed(first, images=images), other)
    with pytest.raises(ValueError, match='permutations must be positive, got 0'):
        permutation_test(first, *predictions([first]), other, *predictions([other]), 0)
