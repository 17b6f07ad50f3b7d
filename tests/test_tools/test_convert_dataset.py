# SPDX-License-Identifier: Apache-2.0
import importlib.util
import itertools
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mlcl_plugin.datasets.coco_multi_label import CocoMultiLabel
from mlcl_plugin.datasets.forms import read_labels

PATH = Path(__file__).parents[2] / 'tools/convert_dataset.py'
spec = importlib.util.spec_from_file_location('tools_convert_dataset', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Function that calls the tool in a folder of its own: code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        try:
            code = tool.main(list(map(str, args)))
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def table(tmp_path):
    """40 images, half of them with one label; 'owl' is unknown on the first two."""
    rows = [f'{i}.jpg,{i % 2},{(i % 4 == 3) * 1},0' for i in range(40)]
    rows[:2] = ['0.jpg,0,0,', '1.jpg,1,0,']
    (tmp_path / 'photos.csv').write_text('\n'.join(['image,cat,dog,owl', *rows]))
    return 'photos.csv'


def shown_configs(printed):
    """The dataset configs that the tool shows, as dicts."""
    for line in re.findall(r'^dict\(.*\)$', printed, flags=re.M):
        yield eval(line, {'dict': dict})


def test_coco_to_csv_to_voc_to_coco(call, tiny_coco, tmp_path):
    start = tiny_coco / 'train.json'
    for source, target, *options in (
        (start, 'a.csv'),
        ('a.csv', 'voc'),
        ('voc', 'b.json', '--to', 'coco'),
    ):
        code, _, err = call(source, target, *options)
        # VOC is for .jpg, which the tool says.
        if target == 'voc':
            assert code == 2 and '.png' in err and err.count('\n') == 1
            text = (tmp_path / 'a.csv').read_text()
            (tmp_path / 'a.csv').write_text(text.replace('.png', '.jpg'))
            code, _, err = call(source, target, *options)
        assert code == 0, err
    got, expected = read_labels('b.json'), read_labels(start)
    assert got.classes == expected.classes == ('cat', 'dog', 'owl')
    assert got.images == tuple(x.replace('.png', '.jpg') for x in expected.images)
    np.testing.assert_array_equal(got.targets.toarray(), expected.targets.toarray())


@pytest.mark.parametrize(
    ('target', 'options'),
    [
        ('x.parquet', []),
        ('x.tsv', ['--table-style', 'names', '--separator', '|', '--unknown', 'drop']),
        ('x.csv', ['--image-column', 'path']),
        ('new/voc', ['--target-split', 'anything']),
        ('x.json', ['--to', 'mmpretrain']),
        ('x.json', ['--to', 'coco', '--unknown', 'negative']),
    ],
)
def test_shown_config_reads_it(call, table, target, options):
    if '--image-column' in options:
        call(table, 'y.json', '--to', 'mmpretrain')
        table = 'y.json'
    code, out, err = call(table, target, *options)
    assert code == 0, err
    (config,) = shown_configs(out)
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(config)
    assert tuple(dataset.metainfo['classes']) == ('cat', 'dog', 'owl')
    number = 38 if 'drop' in options else 40
    assert len(dataset) == number and f': {number} images written' in out
    info = dataset.get_data_info(39 - 40 + number)
    assert info['img_path'].endswith('IMAGES/39.jpg')
    assert list(info['gt_label']) == [0, 1]


@pytest.mark.parametrize('target', ['photos.json', 'voc', 'photos.csv'])
def test_division(call, table, target):
    options = ['--to', 'coco', '--unknown', 'negative'] if 'json' in target else []
    args = (table, target, '--val', 0.25, '--test', 0.25, *options)
    code, out, err = call(*args)
    assert code == 0, err
    parts = {}
    for name in ('train', 'val', 'test'):
        path = target.replace('.', f'_{name}.')
        parts[name] = read_labels(path, split=name if target == 'voc' else None)
    for name, number in (('train', 20), ('val', 10), ('test', 10)):
        assert len(parts[name].images) == pytest.approx(number, abs=1)
        present = parts[name].targets.toarray() == 1
        # 20 images of cat and 10 of dog
        assert present[:, 0].sum() == pytest.approx(number / 2, abs=1)
        assert present[:, 1].sum() == pytest.approx(number / 4, abs=1)
        assert f'{name}: {len(parts[name].images)} images' in out
    images = [set(part.images) for part in parts.values()]
    assert set().union(*images) == {f'{i}.jpg' for i in range(40)}
    assert not any(one & other for one, other in itertools.combinations(images, 2))
    assert 'labels with fewer images than the 3 parts: owl' in out
    assert len(list(shown_configs(out))) == 3
    # the same again is nothing new, another seed is
    assert call(*args)[0] == 0
    code, _, err = call(*args, '--seed', 1)
    assert code == 2 and 'Nothing was written' in err


def test_all_parts_or_none(call, table, tmp_path):
    (tmp_path / 'x_val.csv').write_text('mine')
    code, _, err = call(table, 'x.csv', '--val', 0.5)
    assert code == 2 and "x_val.csv' exists already" in err
    assert 'replaced (--overwrite).' in err
    assert (tmp_path / 'x_val.csv').read_text() == 'mine'
    assert not (tmp_path / 'x_train.csv').exists()
    assert call(table, 'x.csv', '--val', 0.5, '--overwrite')[0] == 0
    assert 'mine' not in (tmp_path / 'x_val.csv').read_text()


def test_image_root(call, tiny_coco):
    code, out, err = call(
        *(tiny_coco / 'val.json', 'x.json', '--to', 'coco'),
        *('--image-root', tiny_coco / 'val'),
    )
    assert code == 0, err
    content = json.loads(Path('x.json').read_text())
    assert content['images'][0]['width'] == 32
    (config,) = shown_configs(out)
    dataset = CocoMultiLabel(**{k: v for k, v in config.items() if k != 'type'})
    assert cv2.imread(dataset.get_data_info(0)['img_path']).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['nowhere.csv', 'x.csv'], "no annotation file 'nowhere.csv'"),
        (
            ['photos.csv', 'x.json'],
            '--to coco or --to fiftyone or --to label-studio or --to mmpretrain',
        ),
        (['photos.csv', 'x.json', '--to', 'coco'], '--unknown negative'),
        (['photos.csv', 'x.csv', '--val', '1.5'], 'between 0 and 1, got --val 1.5'),
        (['photos.csv', 'x.csv', '--test', 'nan'], 'between 0 and 1, got --test nan'),
        (['photos.csv', 'x.csv', '--val', '0.7', '--test', '0.3'], 'between 0 and 1'),
        (['photos.csv', 'x.csv', '--classes', 'gone.txt'], 'gone.txt'),
        (['photos.csv', 'x.csv', '--image-column', 'path'], "no column 'path'"),
    ],
)
def test_errors_take_one_line(call, table, tmp_path, args, message):
    code, _, err = call(*args)
    assert code == 2 and message in err
    assert err.startswith('convert_dataset: ') and err.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == [table]


def test_bad_seed(call):
    code, _, err = call('a.csv', 'b.csv', '--seed', '-1')
    assert code == 2 and '--seed: expected an integer of at least 0' in err


def test_one_name_for_several_parts(call):
    args = ('a.csv', 'b.csv', '--val', '0.2', '--target-split', 'part')
    code, _, err = call(*args)
    assert code == 2 and '--target-split is for one part' in err


def test_fields_between_semicolons(call, tmp_path):
    """As spreadsheets write them in many countries."""
    (tmp_path / 'photos.csv').write_text('image;cat;dog\na.jpg;1;\n')
    options = ['--delimiter', ';', '--unstated-as', '0']
    code, _, _ = call('photos.csv', 'x.csv', *options)
    assert code == 0
    assert (tmp_path / 'x.csv').read_text().splitlines()[1] == '"a.jpg",1,0'
