# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mlcl_plugin.data_check import check_datasets
from mlcl_plugin.data_check.near_duplicates import similar_pairs
from mlcl_plugin.data_check.picture_hash import (
    compare_pictures,
    flip_hashes,
    picture_hash,
)
from mlcl_plugin.data_check.pictures import save_near_duplicates

HEIGHT, WIDTH = 180, 240


def scene(seed):
    """A picture with rough and fine structure, different for each seed."""
    rng = np.random.default_rng(seed)
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    for cells in (4, 9, 20, 45):
        noise = rng.random((cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return (255 * np.clip(image / 4, 0, 1)).astype(np.uint8)


def resized(image):
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def recompressed(image):
    return cv2.imdecode(cv2.imencode('.jpg', image, [1, 30])[1], cv2.IMREAD_COLOR)


def cropped(image):
    return image[9:, : WIDTH - 12]


def mirrored(image):
    return resized(image)[:, ::-1]


CHANGES = [resized, recompressed, cropped]


@pytest.mark.parametrize('change', CHANGES)
def test_changed_pictures_are_similar(change):
    for seed in range(5):
        image = scene(seed)
        first, second = picture_hash(image), picture_hash(change(image))
        assert first @ second > 0.75
        assert compare_pictures(image, change(image)) > 0.5
        assert compare_pictures(image, scene(seed + 100)) < 0.4


def test_hash_of_a_mirrored_picture():
    image = cv2.resize(scene(0), (256, 256))
    got = flip_hashes(picture_hash(image))
    np.testing.assert_allclose(got, picture_hash(image[:, ::-1]), atol=2e-3)


def test_hash_of_one_colour_is_nothing():
    assert not picture_hash(np.full((50, 60, 3), 7, dtype=np.uint8)).any()
    assert picture_hash(np.arange(256, dtype=np.uint8).reshape(16, 16)).shape == (63,)


def titled(text):
    """A white picture with a title at its top."""
    image = np.full((400, 400, 3), 255, dtype=np.uint8)
    return cv2.putText(image, text, (10, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0,) * 3)


def test_empty_middles_are_not_found():
    assert compare_pictures(titled('Annual report'), titled('Minutes 7')) == 0
    for other in (scene(0), scene(1)):
        assert compare_pictures(titled('Annual report'), other) < 0.4


@pytest.mark.parametrize('flipped', [False, True])
@pytest.mark.parametrize('tile', [3, 7, 2048])
def test_similar_pairs(monkeypatch, tile, flipped):
    """All pairs of a loop, in order, whatever the size of the blocks."""
    monkeypatch.setattr('mlcl_plugin.data_check.near_duplicates.TILE', tile)
    rng = np.random.default_rng(0)
    hashes = rng.standard_normal((12, 63)).astype(np.float32)
    hashes /= np.linalg.norm(hashes, axis=1, keepdims=True)
    expected = []
    for i in range(12):
        for j in range(i + 1, 12):
            other = flip_hashes(hashes[j]) if flipped else hashes[j]
            value = sum(float(a) * float(b) for a, b in zip(hashes[i], other))
            if value > 0.1:
                expected.append((value, i, j))
    expected.sort(key=lambda item: -item[0])
    pairs, values, total = similar_pairs(hashes, 0.1, flipped)
    assert total == len(expected) > 2
    assert pairs.tolist() == [[i, j] for _, i, j in expected]
    np.testing.assert_allclose(values, [value for value, _, _ in expected], atol=1e-5)
    few, _, total = similar_pairs(hashes, 0.1, flipped, most=2)
    assert few.tolist() == pairs[:2].tolist() and total == len(expected)
    contents = np.arange(12)
    contents[pairs[0][1]] = contents[pairs[0][0]]
    others, _, total = similar_pairs(hashes, 0.1, flipped, contents=contents)
    assert others.tolist() == pairs[1:].tolist() and total == len(expected) - 1


def write_split(folder, name, images, labels=None):
    """A folder of images and its table, as a dataset's config."""
    (folder / name).mkdir(parents=True)
    rows = ['image,cat,dog']
    for place, image in enumerate(images):
        cv2.imwrite(str(folder / name / f'{place}.png'), image)
        rows.append(f'{place}.png,{(labels or {}).get(place, "1,0")}')
    (folder / f'{name}.csv').write_text('\n'.join(rows) + '\n')
    return dict(
        type='TabularMultiLabel',
        data_root=str(folder),
        ann_file=f'{name}.csv',
        data_prefix=dict(img_path=name),
        serialize_data=False,
        pipeline=[dict(type='LoadImage'), dict(type='PackInputs')],
    )


def config(**splits):
    loaders = {
        f'{name}_dataloader': dict(batch_size=1, dataset=split)
        for name, split in splits.items()
    }
    return Config(dict(default_scope='mmpretrain', **loaders))


def near(report):
    return [f for f in report.findings if f.kind.startswith('near duplicates')]


@pytest.fixture
def planted(tmp_path):
    """Train has six pictures and a cropped copy, val changed copies of three."""
    train = [scene(i) for i in range(6)]
    val = [scene(9), resized(train[1]), recompressed(train[2]), mirrored(train[3])]
    return config(
        train=write_split(tmp_path, 'train', [*train, cropped(train[0])], {6: '0,1'}),
        val=write_split(tmp_path, 'val', [*val, train[5]]),
    )


def test_planted(planted, tmp_path):
    report = check_datasets(planted)
    assert report.ok
    within, across = near(report)
    assert within.kind == 'near duplicates within a split' and within.count == 1
    assert '2 of 7 images look like another one, in 1 pair, 1 of them with' in (
        within.message
    )
    assert '0.png ~ ' in within.examples[0] and 'different labels' in within.examples[0]
    assert across.splits == ('train', 'val') and across.count == 2
    assert '2 of the 5 images of val look like one of train' in across.message
    found = {(pair.splits, pair.images) for pair in report.near_duplicates}
    assert found == {((0, 0), (0, 6)), ((0, 1), (1, 1)), ((0, 1), (2, 2))}
    # the same bytes are reported as such
    (same,) = (f for f in report.findings if f.kind == 'duplicates across splits')
    assert same.count == 1
    written = json.loads(report.to_json())['near_duplicates']
    assert len(written) == 3
    (pair,) = (pair for pair in written if pair['splits'] == ['train', 'train'])
    assert [Path(image).name for image in pair['images']] == ['0.png', '6.png']
    assert pair['labels_differ'] and not pair['flipped']
    files = save_near_duplicates(report.splits, report.near_duplicates, tmp_path)
    assert cv2.imread(str(tmp_path / files[0])).shape[1] > 500
    # the picture of an earlier call does not stay
    assert save_near_duplicates(report.splits, [], tmp_path) == []
    assert not (tmp_path / files[0]).exists()


@pytest.mark.parametrize(
    ('labels', 'differ'), [('1,', False), (',', False), ('0,', True), ('1,1', True)]
)
def test_unknown_labels_do_not_differ(tmp_path, labels, differ):
    images = [scene(0), resized(scene(0))]
    split = write_split(tmp_path, 'train', images, {1: labels})
    (pair,) = check_datasets(config(train=split)).near_duplicates
    assert pair.labels_differ == differ


def test_too_many_images(planted, monkeypatch):
    monkeypatch.setattr('mlcl_plugin.data_check.near_duplicates.MAX_IMAGES', 11)
    report = check_datasets(planted)
    assert report.near_duplicates == []
    (finding,) = near(report)
    assert 'were not looked for: there are 12 different images' in finding.message


def test_mirrored(planted):
    report = check_datasets(planted, near_duplicates='flipped')
    (pair,) = (pair for pair in report.near_duplicates if pair.flipped)
    assert (pair.splits, pair.images) == ((0, 1), (3, 3))
    assert any(', mirrored)' in text for text in near(report)[1].examples)
    assert len(report.near_duplicates) == 4


def test_switched_off(planted):
    report = check_datasets(planted, near_duplicates='none')
    assert near(report) == [] and not report.splits[0].hashes.any()
    assert near(check_datasets(planted, read_files=False)) == []
    with pytest.raises(ValueError, match="near_duplicates must be .*, got 'all'"):
        check_datasets(planted, near_duplicates='all')


def test_too_many_candidates(planted, monkeypatch):
    """What was not compared is said."""
    function = similar_pairs
    monkeypatch.setattr(
        'mlcl_plugin.data_check.near_duplicates.similar_pairs',
        lambda hashes, **options: function(hashes, most=1, **options),
    )
    message = near(check_datasets(planted))[-1].message
    # the file of the same bytes in train and val takes no place
    assert message.startswith('3 pairs of images look alike')
    assert 'only the most similar 1 were compared' in message
