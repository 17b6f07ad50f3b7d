# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.evaluation.calibration import fit_temperatures
from mlcl_plugin.evaluation.cross_fitting import DecisionRecipe, cross_fit
from mlcl_plugin.evaluation.thresholds import ThresholdTarget, find_thresholds

CLASSES = ('cat', 'dog', 'owl')


def make_case(num_images=40, seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, 3)) < 0.4).astype(int)
    targets[rng.random(targets.shape) < 0.1] = -1
    scores = 1 / (1 + np.exp(-rng.normal(size=targets.shape) - 2 * (targets == 1)))
    return scores.astype(np.float32), targets


@pytest.mark.parametrize('calibrate', ['none', 'global', 'per-label'])
@pytest.mark.parametrize('per_label', [True, False])
def test_fit(calibrate, per_label):
    scores, targets = make_case()
    recipe = DecisionRecipe(ThresholdTarget('recall', 0.9), per_label, calibrate)
    decisions, found = recipe.fit(scores, targets, CLASSES)
    if calibrate == 'none':
        assert decisions.temperatures is None
    else:
        expected = fit_temperatures(scores, targets, calibrate == 'per-label')
        assert (decisions.temperatures == expected).all()
    again = find_thresholds(
        scores if calibrate == 'none' else decisions.calibrate(scores),
        targets,
        recipe.target,
        per_label,
    )
    assert (decisions.thresholds == again.values).all()
    assert (found.values == again.values).all()
    truth = targets == 1
    hits = decisions.predict(scores) & truth
    recall = hits.sum(axis=0) / truth.sum(axis=0) if per_label else hits.sum() / 1.0
    assert np.all(recall >= 0.9 if per_label else recall >= 0.9 * truth.sum())


def test_no_image_judges_itself():
    """What is decided about an image does not depend on its targets."""
    scores, targets = make_case()
    recipe = DecisionRecipe(calibrate='per-label')
    before = cross_fit(recipe, scores, targets, CLASSES, num_folds=4, seed=1)
    changed = 0
    for image in range(len(targets)):
        other = targets.copy()
        other[image] = np.where(other[image] == 1, 0, 1)
        after = cross_fit(recipe, scores, other, CLASSES, num_folds=4, seed=1)
        assert (after.calibrated[image] == before.calibrated[image]).all()
        assert (after.predicted[image] == before.predicted[image]).all()
        changed += (after.calibrated != before.calibrated).any()
    assert changed == len(targets)


def test_every_fold_by_the_others():
    scores, targets = make_case(21)
    recipe = DecisionRecipe(per_label=False)
    result = cross_fit(recipe, scores, targets, CLASSES, num_folds=21, seed=5)
    for image in range(21):
        rest = np.arange(21) != image
        (threshold, *_) = find_thresholds(
            scores[rest], targets[rest], per_label=False
        ).values
        assert (result.predicted[image] == (scores[image] >= threshold)).all()
    assert (result.calibrated == scores).all()


def test_noise_gains_nothing():
    """In-sample thresholds seem to; that is why they are not reported."""
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 30)) < 0.2).astype(int)
    scores = rng.random(targets.shape)
    classes = tuple(map(str, range(30)))
    recipe = DecisionRecipe()

    def f1(predicted):
        return (
            2 * (predicted & (targets == 1)).sum() / (predicted.sum() + targets.sum())
        )

    chosen = f1(recipe.fit(scores, targets, classes)[0].predict(scores))
    crossed = f1(cross_fit(recipe, scores, targets, classes).predicted)
    everything = f1(np.ones_like(targets, dtype=bool))
    assert chosen > everything + 0.02 > crossed


def test_bad_input():
    scores, targets = make_case()
    for number in (1, 41):
        with pytest.raises(
            ValueError, match=f'2 to the number.*40, got num_folds={number}'
        ):
            cross_fit(DecisionRecipe(), scores, targets, CLASSES, number)
    targets[:] = 0
    targets[7] = 1
    with pytest.raises(
        ValueError, match='Without fold . of 5, 32 images are left: .*fewer folds'
    ):
        cross_fit(DecisionRecipe(), scores, targets, CLASSES, 5)
    with pytest.raises(ValueError, match="calibrate must be one of .*got 'yes'"):
        DecisionRecipe(calibrate='yes')
