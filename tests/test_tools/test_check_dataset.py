# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import shutil
from pathlib import Path

import cv2
import pytest

from mlcl_plugin.commands.check import name_flags
from mlcl_plugin.data_check import DatasetReport, Finding, pictures

PATH = Path(__file__).parents[2] / 'tools/check_dataset.py'
spec = importlib.util.spec_from_file_location('tools_check_dataset', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

KINDS = ('labels', 'cooccurrence', 'samples')


@pytest.fixture
def call(capsys, tmp_path):
    """Function that calls the tool: exit code, report, screen, errors."""

    def call(config, *options):
        out = tmp_path / 'new' / 'report'
        args = [str(config), '--out', str(out), '--workers', '0', *options]
        try:
            code = tool.main(args)
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        report = None
        if (out / 'report.json').is_file():
            report = json.loads((out / 'report.json').read_text())
        return code, report, printed.out, printed.err

    return call


def test_sound_data(call, write_config, tmp_path):
    code, report, screen, progress = call(write_config())
    assert code == 0 and report['ok'] and report['findings'] == []
    assert [split['names'] for split in report['splits']] == [
        ['train'],
        ['val', 'test'],
    ]
    out = tmp_path / 'new/report'
    names = [f'{kind}_{split}.png' for split in ('train', 'val') for kind in KINDS]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ['report.json', 'report.md', *names]
    )
    for name in names:
        assert cv2.imread(str(out / name)).std() > 5
    text = (out / 'report.md').read_text()
    assert text in screen and '| cat ' in text and 'report.md' in screen
    assert '7/7' in progress and '7/7' not in screen


def damage(root):
    """A truncated and a missing image, a duplicate, a misspelt label, no images."""
    path = root / 'train/000.png'
    path.write_bytes(path.read_bytes()[:100])
    (root / 'train/001.png').unlink()
    shutil.copy(root / 'train/002.png', root / 'val/003.png')
    content = json.loads((root / 'val.json').read_text())
    (root / 'empty.json').write_text(json.dumps(content | dict(images=[])))
    labels = ['cat', 'dgo', 'owl']
    categories = [dict(id=i, name=name) for i, name in zip((3, 7, 20), labels)]
    (root / 'misspelt.json').write_text(
        json.dumps(content | dict(categories=categories))
    )


def test_damaged_data(call, write_config, tiny_coco, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(tiny_coco, root)
    damage(root)
    config = write_config(root=root)
    test_set = 'test_dataloader.dataset.ann_file'
    code, report, screen, _ = call(config, '--cfg-options', f'{test_set}=empty.json')
    assert code == 1 and not report['ok']
    kinds = {finding['kind']: finding for finding in report['findings']}
    assert '000.png' in kinds['unreadable image']['examples'][0]
    assert '001.png' in kinds['missing image']['examples'][0]
    assert 'train/002.png' in kinds['duplicates across splits']['examples'][0]
    assert 'empty.json' in kinds['data set']['message']
    assert kinds['data set']['splits'] == ['test']
    for text in ('000.png', '001.png', '002.png', 'empty.json'):
        assert text in screen
    code, report, screen, _ = call(config, '--cfg-options', f'{test_set}=misspelt.json')
    (finding,) = (f for f in report['findings'] if f['kind'] == 'classes')
    assert code == 1 and "['dgo']" in finding['message'] and 'dgo' in screen


def test_warnings_alone_are_no_error(call, write_config, tiny_coco):
    code, report, screen, _ = call(
        *(write_config(), '--cfg-options'),
        *('val_dataloader.dataset.ann_file=train.json',),
        *('val_dataloader.dataset.data_prefix.img_path=train',),
    )
    assert code == 0 and report['findings'][0]['level'] == 'warning'
    assert '**warning**: duplicates across splits' in screen


def test_options(call, write_config, tmp_path, monkeypatch):
    drawn = []

    def record(name):
        draw = getattr(pictures, name)
        monkeypatch.setattr(
            pictures, name, lambda *args: drawn.append(args[-1]) or draw(*args)
        )

    record('label_histogram')
    record('cooccurrence_matrix')
    sheets = []
    sheet = pictures.sample_sheet
    monkeypatch.setattr(
        pictures, 'sample_sheet', lambda *args: sheets.append(args) or sheet(*args)
    )
    code, report, *_ = call(
        *(write_config(), '--max-labels', '2', '--samples', '3'),
        *('--cfg-options', 'train_dataloader.dataset.indices=6'),
    )
    assert code == 0 and report['splits'][0]['images'] == 6
    assert drawn == [2] * 4
    images, targets, names, classes, title = sheets[0]
    assert names == ['000.png', '002.png', '004.png'] and '3 of 6 images' in title
    assert [t.tolist() for t in targets] == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert classes == ('cat', 'dog', 'owl')


def test_skip_images(call, write_config, tiny_coco, tmp_path):
    root = tmp_path / 'data'
    root.mkdir()
    for split in ('train', 'val'):
        shutil.copy(tiny_coco / f'{split}.json', root)
    config = write_config(root=root)
    assert call(config)[0] == 1
    code, report, screen, _ = call(config, '--skip-images')
    assert code == 0 and report['ok'] and 'not looked at' in screen


def test_default_folder(write_config, tmp_path, monkeypatch, capsys):
    config = write_config()
    monkeypatch.chdir(tmp_path)
    assert tool.main([str(config), '--workers', '0']) == 0
    assert Path('work_dirs/check_dataset', config.stem, 'report.md').is_file()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'nowhere.py'),
        (['--cfg-options', 'steps.step3.lr=1'], "no step 'step3'"),
    ],
)
def test_errors_take_one_line(call, write_config, options, message):
    code, report, _, err = call(write_config() if options else 'nowhere.py', *options)
    assert code == 2 and report is None
    assert message in err and err.startswith('check_dataset: ') and err.count('\n') == 1


@pytest.mark.parametrize('text', ['a = (', 'a = b', 'a = {}[1]'])
def test_config_with_an_error(call, tmp_path, text):
    path = tmp_path / 'broken.py'
    path.write_text(text)
    code, _, _, err = call(str(path))
    assert code == 2 and 'broken.py cannot be read' in err


@pytest.mark.parametrize('option', ['--workers', '--max-labels', '--samples'])
def test_numbers_out_of_range(option, capsys):
    with pytest.raises(SystemExit):
        tool.main(['config.py', option, '-1'])
    assert f'{option}: expected an integer of at least' in capsys.readouterr().err


def test_findings_name_flags():
    finding = Finding('error', 'data set', ('train',), 'Try workers=0 to see it.')
    (got,) = name_flags(DatasetReport([], [finding])).findings
    assert got.message == 'Try --workers 0 to see it.'
