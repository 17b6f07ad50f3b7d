# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

TARGETS = np.array([[1, 0, -1, 0], [0, 1, 1, 0]] * 25, np.int8)


@pytest.mark.parametrize(
    ('kind', 'rate', 'number'), [('symmetric', 0.1, 18), ('missing', 0.2, 15)]
)
def test_flips(load, kind, rate, number):
    flip = load('wrong_labels').flip
    flipped = flip(TARGETS, kind, rate, 0)
    places = flipped != TARGETS
    # 175 entries are known, 75 present.
    assert places.sum() == number
    np.testing.assert_array_equal(flipped[places], 1 - TARGETS[places])
    assert (TARGETS[places] >= 0).all()
    if kind == 'missing':
        assert (flipped[places] == 0).all()
    assert (flip(TARGETS, kind, rate, 1) != flipped).any()


def test_features_with_wrong_labels(load, tmp_path):
    """Labels of the training images change, and nothing else."""
    wrong = load('wrong_labels')
    features = tmp_path / 'features'
    features.mkdir()
    (features / 'train.npy').write_bytes(b'numbers')
    content = dict(
        metainfo=dict(classes=['a', 'b', 'c', 'd']),
        settings=dict(seed=0),
        data_list=[
            dict(
                img_path=f'{row}.jpg',
                gt_label=np.flatnonzero(target == 1).tolist(),
                gt_label_difficult=np.flatnonzero(target == -1).tolist(),
            )
            for row, target in enumerate(TARGETS)
        ],
    )
    for name in ('train', 'val'):
        (features / f'{name}.json').write_text(json.dumps(content))
    folder = wrong.with_wrong_labels(features, 'symmetric', 0.1, 0)
    # A second call finds the same.
    assert wrong.with_wrong_labels(features, 'symmetric', 0.1, 0) == folder
    assert (folder / 'train.npy').read_bytes() == b'numbers'
    assert json.loads((folder / 'val.json').read_text()) == content
    made = json.loads((folder / 'train.json').read_text())
    np.testing.assert_array_equal(
        wrong.read_targets(made), wrong.flip(TARGETS, 'symmetric', 0.1, 0)
    )
    assert made['settings'] != content['settings']
    assert [r['img_path'] for r in made['data_list']] == [
        r['img_path'] for r in content['data_list']
    ]


def test_measures_of_a_ranking(load):
    doubts = np.array([[0.9, np.nan], [0.8, 0.7], [0.1, 0.6]])
    wrong = np.array([[True, True], [False, True], [False, False]])
    found = load('label_issues').judge_ranking(doubts, wrong)
    # Flips are the first and the third; one was not scored.
    assert found['flips'] == 2
    assert found['AP'] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found['P@flips'] == 50
    assert found['P@100'] == 40


def test_a_long_tail(load):
    study = load('imbalance')
    rng = np.random.default_rng(0)
    targets = (rng.random((3000, 5)) < 0.3).astype(np.int8)
    rows = study.long_tail(targets, 0)
    counts = np.sort((targets[rows] == 1).sum(0))
    assert counts[0] <= study.LEAST and counts[-1] <= study.MOST
    assert counts[-1] > 5 * counts[0]
    assert len(set(rows)) == len(rows)


def test_mmengine_repeats_images_of_rare_labels(load):
    targets = np.zeros((100, 2), np.int8)
    targets[:50, 0] = 1
    targets[0, 1] = 1
    rows = load('imbalance').repeated(targets, ['often', 'rare'])
    # The square root of 0.1 / 0.01 is 3.2.
    assert rows.count(0) == 4
    assert [rows.count(row) for row in (1, 60, 99)] == [1, 1, 1]
