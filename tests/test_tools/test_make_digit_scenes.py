# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import sys
from pathlib import Path

import cv2
import pytest
from sklearn.datasets import load_digits

from mlcl_plugin.datasets import CocoMultiLabel
from mlcl_plugin.datasets.digit_scenes import folder, split_scans

PATH = Path(__file__).parents[2] / 'tools/dataset_converters/make_digit_scenes.py'
NUMBERS = ['--num-train', '6', '--num-val', '4']


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('make_digit_scenes', PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules['make_digit_scenes'] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules['make_digit_scenes']


def run(tool, out_dir, *args):
    tool.main([str(out_dir), *NUMBERS, *args])
    return out_dir


def contents(folder):
    """All files below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def annotations(folder, split):
    return json.loads((folder / 'annotations' / f'instances_{split}.json').read_bytes())


@pytest.fixture(scope='module')
def scenes(tool, tmp_path_factory):
    return run(tool, tmp_path_factory.mktemp('scenes') / 'default')


def test_layout(scenes):
    assert set(contents(scenes)) == {
        'annotations/instances_train.json',
        'annotations/instances_val.json',
        *(f'train/{i:06d}.png' for i in range(1, 7)),
        *(f'val/{i:06d}.png' for i in range(1, 5)),
    }
    content = annotations(scenes, 'val')
    assert content['categories'][0] == {'id': 1, 'name': 'zero'}
    assert content['categories'][9] == {'id': 10, 'name': 'nine'}
    assert content['info']['options']['seed'] == 0
    assert content['info']['options']['clutter'] == 6


@pytest.mark.parametrize('split', ['train', 'val'])
def test_scenes_load_as_a_dataset(scenes, split):
    content = annotations(scenes, split)
    dataset = CocoMultiLabel(
        data_root=str(scenes),
        ann_file=f'annotations/instances_{split}.json',
        data_prefix=split,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=10),
            dict(type='PackInputs'),
        ],
    )
    assert len(dataset) == len(content['images'])
    assert dataset.metainfo['classes'][3] == 'three'
    for i, image in enumerate(content['images']):
        expected = [0] * 10
        for annotation in content['annotations']:
            if annotation['image_id'] == image['id']:
                expected[annotation['category_id'] - 1] = 1
        sample = dataset[i]
        assert sample['data_samples'].gt_score.tolist() == expected
        assert sample['inputs'].shape == (3, 96, 96)


def test_annotations_agree_with_the_scans(scenes):
    digits = load_digits().target
    for split in ('train', 'val'):
        for annotation in annotations(scenes, split)['annotations']:
            assert digits[annotation['scan']] == annotation['category_id'] - 1


def test_scenes_use_the_scans_of_their_split(tool, scenes):
    parts = split_scans(0.3, 0)
    for split in ('train', 'val'):
        used = {a['scan'] for a in annotations(scenes, split)['annotations']}
        assert used and used <= set(parts[split][2].tolist())


def test_deterministic(tool, scenes, tmp_path):
    again = contents(run(tool, tmp_path / 'again'))
    assert again == contents(scenes)
    other = contents(run(tool, tmp_path / 'other', '--seed', '1'))
    assert other['train/000001.png'] != again['train/000001.png']


def test_splits_do_not_depend_on_each_other(tool, scenes, tmp_path):
    tool.main([str(tmp_path / 'more'), '--num-train', '8', '--num-val', '4'])
    few, more = contents(scenes), contents(tmp_path / 'more')
    for name in few:
        if name != 'annotations/instances_train.json':
            assert few[name] == more[name], name
    # More scenes of a split leave the first ones as they are.
    assert (
        annotations(tmp_path / 'more', 'train')['images'][:6]
        == annotations(scenes, 'train')['images']
    )


def test_scenes_of_the_splits_are_not_alike(scenes):
    """Not only the scans differ, but also which digits meet in a scene."""
    train, val = (
        [
            [a['category_id'] for a in content['annotations'] if a['image_id'] == i]
            for i in range(1, 5)
        ]
        for content in (annotations(scenes, split) for split in ('train', 'val'))
    )
    assert train != val


def test_jpeg(tool, tmp_path):
    args = ('--format', 'jpg', '--image-size', '48', '--quality')
    low, high = (run(tool, tmp_path / q, *args, q) for q in ('20', '95'))
    image = annotations(low, 'val')['images'][0]
    assert image == {'id': 1, 'file_name': '000001.jpg', 'height': 48, 'width': 48}
    assert cv2.imread(str(low / 'val/000001.jpg')).shape == (48, 48, 3)
    sizes = [(folder / 'val/000001.jpg').stat().st_size for folder in (low, high)]
    assert sizes[0] < sizes[1]


def test_same_scenes_are_not_made_again(tool, tmp_path, capsys):
    out_dir = run(tool, tmp_path / 'out')
    image = out_dir / 'train/000001.png'
    before = image.stat().st_mtime_ns
    capsys.readouterr()
    run(tool, out_dir)
    assert 'already holds these scenes' in capsys.readouterr().out
    assert image.stat().st_mtime_ns == before


def test_other_content_is_not_overwritten(tool, tmp_path, capsys):
    out_dir = run(tool, tmp_path / 'out')
    before = contents(out_dir)
    with pytest.raises(SystemExit) as error:
        run(tool, out_dir, '--clutter', '2')
    assert error.value.code == 2
    assert 'not empty' in capsys.readouterr().err
    assert contents(out_dir) == before


@pytest.mark.parametrize('damage', ['image', 'annotation'])
def test_incomplete_scenes_are_noticed(tool, tmp_path, damage, capsys):
    out_dir = run(tool, tmp_path / 'out')
    complete = contents(out_dir)
    if damage == 'image':
        (out_dir / 'val/000002.png').unlink()
    else:
        (out_dir / 'annotations/instances_val.json').write_text('{')
    with pytest.raises(SystemExit):
        run(tool, out_dir)
    assert '--force' in capsys.readouterr().err
    run(tool, out_dir, '--force')
    assert contents(out_dir) == complete


def test_force_replaces_scenes_and_nothing_else(tool, scenes, tmp_path):
    out_dir = tmp_path / 'out'
    tool.main([str(out_dir), '--num-train', '9', '--num-val', '5', '--format', 'jpg'])
    (out_dir / 'train/notes.txt').write_text('mine')
    run(tool, out_dir, '--force')
    after = contents(out_dir)
    assert after.pop('train/notes.txt') == b'mine'
    assert after == contents(scenes)


@pytest.fixture
def interrupt(tool, monkeypatch):
    """Function that runs the tool until a number of scenes are made."""

    def run_until(number, out_dir, *args):
        made = []
        make_scene = folder.make_scene

        def stop(*scene):
            if len(made) == number:
                raise KeyboardInterrupt
            made.append(None)
            return make_scene(*scene)

        with monkeypatch.context() as patch:
            patch.setattr(folder, 'make_scene', stop)
            assert tool.main([str(out_dir), *NUMBERS, *args]) == 130

    return run_until


@pytest.mark.parametrize('number', [0, 1, 6, 8], ids=['no', 'one', 'train', 'val'])
def test_interrupted_call_is_repeated(
    tool, scenes, interrupt, tmp_path, number, capsys
):
    out_dir = tmp_path / 'out'
    interrupt(number, out_dir)
    assert len([name for name in contents(out_dir) if 'png' in name]) == number
    # and with other options
    interrupt(3, out_dir, '--clutter', '2', '--format', 'jpg')
    run(tool, out_dir)
    assert 'holds scenes of an interrupted call' in capsys.readouterr().out
    assert contents(out_dir) == contents(scenes)


def test_interrupted_call_over_older_scenes_is_repeated(
    tool, scenes, interrupt, tmp_path, monkeypatch
):
    out_dir = tmp_path / 'out'
    tool.main([str(out_dir), '--num-train', '9', '--num-val', '5', '--format', 'jpg'])

    def stop(out_dir):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, 'remove_scenes', stop)
        assert tool.main([str(out_dir), *NUMBERS, '--force']) == 130
    assert len(contents(out_dir)) == 9 + 5 + 2 + 1
    interrupt(2, out_dir)
    run(tool, out_dir)
    assert contents(out_dir) == contents(scenes)


@pytest.mark.parametrize('length', [0, 20, 500])
def test_annotation_file_that_was_cut_short(tool, scenes, interrupt, tmp_path, length):
    out_dir = tmp_path / 'out'
    interrupt(8, out_dir)
    path = out_dir / 'annotations/instances_train.json'
    path.write_bytes(path.read_bytes()[:length])
    run(tool, out_dir)
    assert contents(out_dir) == contents(scenes)


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('train/notes.txt', 'mine'),
        ('train/1.png', 'mine'),
        ('000001.png', 'mine'),
        ('test/000001.png', 'mine'),
        ('annotations/instances_train.json', '{"info":{"description":"Mine"}}'),
        ('annotations/instances_test.json', '{"info":{}}'),
        ('annotations/.unfinished', 'mine'),
        ('annotations/.unfinished', ''),
        ('annotations/.unfinished', None),
    ],
)
def test_files_of_others_are_left_alone(
    tool, interrupt, tmp_path, capsys, name, content
):
    out_dir = tmp_path / 'out'
    interrupt(8, out_dir)
    path = out_dir / name
    if content is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    before = contents(out_dir)
    with pytest.raises(SystemExit):
        run(tool, out_dir)
    assert '--force' in capsys.readouterr().err
    assert contents(out_dir) == before


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--num-train', '0'), 'got --num-train 0'),
        (('--num-val', '-3'), 'got --num-val -3'),
        (('--image-size', '0'), 'image_size must lie between 16'),
        (('--min-digits', '0'), 'min_digits must lie between 1'),
        (('--min-digits', '4', '--max-digits', '3'), 'max_digits must lie between 4'),
        (('--min-scale', '0.01'), 'min_scale must lie between 0.0625'),
        (('--max-scale', '1.2'), 'max_scale must lie between 0.2 and 1'),
        (('--clutter', '-1'), 'clutter must lie'),
        (('--noise', 'nan'), 'noise must lie'),
        (('--overlap', '2'), 'overlap must lie'),
        (('--min-contrast', '0.9'), 'min_contrast must lie'),
        (('--max-rotation', '90'), 'max_rotation must lie'),
        (('--quality', '0'), 'quality must lie'),
        (('--seed', '-1'), 'seed must lie'),
        (('--val-fraction-of-scans', '0'), 'val_fraction_of_scans must lie'),
        (('--format', 'gif'), "image_format must be 'png' or 'jpg', got 'gif'"),
        (('--clutter', 'many'), "--clutter: invalid int value: 'many'"),
        (
            ('--min-digits', '5', '--min-scale', '0.9', '--max-scale', '0.9'),
            'do not fit into an image',
        ),
    ],
)
def test_bad_options(tool, tmp_path, capsys, args, message):
    with pytest.raises(SystemExit) as error:
        run(tool, tmp_path / 'out', *args)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not contents(tmp_path)


def test_target_is_a_file(tool, tmp_path, capsys):
    (tmp_path / 'out').write_text('')
    with pytest.raises(SystemExit):
        run(tool, tmp_path / 'out')
    assert 'is a file' in capsys.readouterr().err
