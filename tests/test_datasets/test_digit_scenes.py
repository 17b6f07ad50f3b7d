# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.datasets import load_digits

from mlcl_plugin.datasets.digit_scenes import scenes


def test_scans_are_divided():
    parts = scenes.split_scans(0.25, 0)
    train, val = (set(parts[split][2].tolist()) for split in ('train', 'val'))
    assert not train & val
    assert train | val == set(range(1797))
    digits = load_digits()
    for split, share in (('train', 0.75), ('val', 0.25)):
        scans, labels, numbers = parts[split]
        np.testing.assert_array_equal(labels, digits.target[numbers])
        np.testing.assert_allclose(scans * 16, digits.images[numbers])
        counts = np.bincount(labels) / np.bincount(digits.target)
        np.testing.assert_allclose(counts, share, atol=0.01)
    assert not np.array_equal(scenes.split_scans(0.25, 1)['val'][2], parts['val'][2])


def iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap)


@pytest.mark.parametrize('overlap', [0.0, 0.1])
def test_number_size_and_overlap_of_digits(overlap):
    options = scenes.SceneOptions(
        image_size=64,
        min_digits=2,
        max_digits=3,
        min_scale=0.3,
        max_scale=0.5,
        overlap=overlap,
    )
    scans, labels, _ = scenes.split_scans(0.3, 0)['train']
    numbers, heights, overlaps = set(), [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        image, digits = scenes.make_scene(rng, scans, labels, options)
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        numbers.add(len(digits))
        boxes = [box for _, box in digits]
        for i, (x, y, width, height) in enumerate(boxes):
            assert 0 <= x < x + width <= 64 and 0 <= y < y + height <= 64
            heights.append(height / 64)
            overlaps += [iou(boxes[i], box) for box in boxes[:i]]
    assert numbers == {2, 3}
    assert max(overlaps) <= overlap
    if overlap:
        assert max(overlaps) > 0
    # A scan's strokes reach beyond it by less than a pixel, and tilting adds some.
    assert min(heights) > 0.2 and max(heights) < 0.65
    assert max(heights) > 0.45


def test_rotation_of_digits(monkeypatch):
    angles = []
    render_patch = scenes.render_patch

    def record(scan, size, angle, stretch):
        angles.append(angle)
        return render_patch(scan, size, angle, stretch)

    monkeypatch.setattr(scenes, 'render_patch', record)
    scans, labels, _ = scenes.split_scans(0.3, 0)['train']
    options = scenes.SceneOptions(clutter=0, max_rotation=30.0)
    for seed in range(20):
        scenes.make_scene(np.random.default_rng(seed), scans, labels, options)
    assert -30 <= min(angles) < -15 and 15 < max(angles) <= 30


def test_digits_are_where_their_boxes_are():
    """Without clutter and noise a scene differs from its background in boxes only."""
    options = scenes.SceneOptions(
        image_size=64, clutter=0, noise=0, min_scale=0.3, min_contrast=0.4
    )
    scans, labels, _ = scenes.split_scans(0.3, 0)['train']
    for seed in range(10):
        image, digits = scenes.make_scene(
            np.random.default_rng(seed), scans, labels, options
        )
        edges = np.abs(np.diff(image.astype(int), axis=1)).max(2) > 25
        inside = np.zeros((64, 64), bool)
        for _, (x, y, width, height) in digits:
            window = slice(y, y + height), slice(max(x - 1, 0), x + width)
            assert edges[window].any()
            inside[window] = True
        assert not edges[~inside[:, :-1]].any()


def test_clutter_and_noise():
    scans, labels, _ = scenes.split_scans(0.3, 0)['train']

    def scene(**kwargs):
        options = scenes.SceneOptions(image_size=64, **kwargs)
        return scenes.make_scene(np.random.default_rng(3), scans, labels, options)

    plain, digits = scene(clutter=0, noise=0)
    busy, same_digits = scene(clutter=40, noise=0)
    noisy, _ = scene(clutter=0, noise=0.1)
    assert digits == same_digits, 'clutter must not change what is in the scene'
    assert (busy != plain).any(2).mean() > 0.2
    difference = noisy.astype(float) - plain
    assert 15 < difference[(plain > 60) & (plain < 195)].std() < 35


def test_render_patch_keeps_the_shape_of_the_scan():
    """Rotation by 0 and enlargement by a whole factor is a plain enlargement."""
    scan = np.zeros((8, 8), np.float32)
    scan[1:7, 2] = 1
    scan[6, 2:6] = 1
    mask = scenes.render_patch(scan, 40, 0, 1.0)
    assert abs(mask.shape[0] - 30) <= 2 and abs(mask.shape[1] - 20) <= 2
    assert mask[:, :4].min(0).max() > 0.5, 'the upright of the L'
    assert mask[:20, 8:].max() == 0
    assert mask[-3].min() > 0.5, 'the foot of the L'
    # Rotated by 180 degrees, the foot is at the top.
    turned = scenes.render_patch(scan, 40, 180, 1.0)
    np.testing.assert_allclose(turned, mask[::-1, ::-1], atol=0.1)
    assert scenes.render_patch(scan * 0, 40, 0, 1.0).size == 0


@pytest.mark.parametrize('background', [0.1, 0.5, 0.9])
def test_contrast(background):
    rng = np.random.default_rng(0)
    mean = np.full(3, background)
    for _ in range(50):
        blue, green, red = scenes._random_colour(rng, mean, 0.3)
        brightness = 0.114 * blue + 0.587 * green + 0.299 * red
        assert abs(brightness - background) >= 0.3


def test_bad_options_from_python():
    with pytest.raises(ValueError, match='noise must lie between 0 and 1, got 3'):
        scenes.SceneOptions(noise=3)
