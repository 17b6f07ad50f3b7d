# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
from mmpretrain import get_model
from torch import distributed

from mlcl_plugin.commands import make_parser
from mlcl_plugin.datasets.forms import read_labels
from mlcl_plugin.evaluation.decisions import Decisions

PATH = Path(__file__).parents[2] / 'tools/infer.py'
spec = importlib.util.spec_from_file_location('tools_infer', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

CLASSES = ('cat', 'dog', 'owl')


@pytest.fixture
def config(write_config):
    return write_config()


@pytest.fixture
def checkpoint(config, tmp_path):
    torch.manual_seed(0)
    model = get_model(str(config), pretrained=False)
    content = dict(
        state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))
    )
    torch.save(content, tmp_path / 'model.pth')
    return tmp_path / 'model.pth'


@pytest.fixture
def photos(tiny_coco, tmp_path):
    folder = tmp_path / 'photos'
    shutil.copytree(tiny_coco / 'val', folder)
    return folder


@pytest.fixture
def infer(config, checkpoint, monkeypatch, capsys):
    """Function that calls the tool; gives exit code, lines, and what stderr has."""
    monkeypatch.setattr('mlcl_plugin.engine.keep_memory', lambda: None)

    def call(*args, config=config, checkpoint=checkpoint):
        capsys.readouterr()
        try:
            code = tool.main([*map(str, args), str(config), str(checkpoint)])
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return call


def read(path):
    return [json.loads(line) for line in path.read_text('utf-8').splitlines()]


def test_lines(infer, photos):
    """Nothing but lines on stdout."""
    code, lines, err = infer(photos)
    assert code == 0
    names = [f'{photos}/{number:03}.png' for number in range(7)]
    assert [line['image'] for line in lines] == names
    assert all(set(line) == {'image', 'labels'} for line in lines)
    assert err.splitlines()[-1] == '7 of 7 images read'


def test_files(infer, photos, tmp_path):
    out, pictures = tmp_path / 'new/labels.jsonl', tmp_path / 'pictures'
    options = ['--all-scores', '--attention', '--thr', '0']
    options += ['--out', out, '--out-dir', pictures, '--batch-size', '3']
    code, lines, err = infer(photos / '000.png', photos / '001.png', *options)
    assert code == 0 and lines == []
    assert f'2 of 2 images read, {out}, {pictures}' in err
    first, second = read(out)
    assert set(first) == {'image', 'labels', 'scores', 'picture'}
    assert list(first['scores']) == list(CLASSES)
    assert len(first['labels']) == 3
    assert len(first['labels'][0]['attention']) == 4
    assert cv2.imread(second['picture']).std() > 10

    # Nothing is replaced without a word.
    before = out.read_bytes()
    for again, what in [
        (['--out', out], 'labels.jsonl exists. Add --resume to go on, or --overwrite.'),
        (['--out-dir', pictures], 'pictures is not empty. Use another one, or set --o'),
    ]:
        code, lines, err = infer(photos, *again)
        assert (code, lines) == (2, [])
        assert what in err.splitlines()[-1]
    assert out.read_bytes() == before
    infer(photos, '--out', out, '--out-dir', pictures, '--overwrite')
    assert len(read(out)) == 7 and 'scores' not in read(out)[0]


def test_options_in_the_middle(checkpoint, config):
    args = ['a.jpg', 'b.jpg', '--thr', '0.3', str(config), str(checkpoint)]
    args = make_parser('infer').read(args)
    assert args.inputs == ['a.jpg', 'b.jpg'] and args.thr == 0.3
    assert args.config == str(config) and args.checkpoint == str(checkpoint)


@pytest.mark.parametrize(
    ('options', 'precision'),
    [((), 'float32'), (('--amp',), 'amp'), (('--precision', 'float16'), 'float16')],
)
def test_precision(options, precision):
    assert make_parser('infer').read(['a', 'b', 'c', *options]).precision == precision


def test_decisions_and_top_k(infer, photos, tmp_path):
    path = tmp_path / 'decisions.json'
    Decisions(CLASSES, [0.0, 1.0, 0.1], [1.0, 2.0, 4.0]).save(path)
    _, lines, _ = infer(photos, '--decisions', path)
    assert all({x['label'] for x in line['labels']} == {'cat', 'owl'} for line in lines)
    _, lines, _ = infer(photos, '--decisions', path, '--top-k', '1')
    assert {len(line['labels']) for line in lines} == {1}
    Decisions(['a', 'b'], [0.5, 0.5]).save(path)
    code, _, err = infer(photos, '--decisions', path)
    assert code == 2 and '2 labels in the decisions, expected 3' in err.splitlines()[-1]


def test_config_and_names(infer, photos, tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('猫\nthe dog\nowl\n', encoding='utf-8')
    options = ['--all-scores', '--classes', names]
    code, lines, err = infer(photos / '000.png', *options)
    assert code == 2 and not lines
    message = "label 0 is '猫' in classes, expected 'cat'. If they mean the same, set "
    assert err.splitlines()[-1].endswith(f'{message}--allow-other-labels.')
    options.append('--allow-other-labels')
    _, lines, _ = infer(photos / '000.png', *options)
    assert list(lines[0]['scores']) == ['猫', 'the dog', 'owl']
    _, lines, _ = infer(photos / '000.png', '--all-scores', '--number-classes')
    assert list(lines[0]['scores']) == ['0', '1', '2']
    code, _, err = infer(
        photos, '--cfg-options', 'test_dataloader.dataset.pipeline=[]', '--amp'
    )
    assert code == 2 and 'no test_dataloader.dataset.pipeline' in err


def test_unreadable(infer, photos):
    (photos / 'bad\nname.png').write_text('no image')
    (photos / '000.png').write_bytes(b'')
    code, lines, err = infer(photos)
    assert code == 0 and len(lines) == 8
    errors = {line['image']: line['error'] for line in lines if 'error' in line}
    assert set(errors) == {f'{photos}/000.png', f'{photos}/bad\nname.png'}
    summary = err.splitlines()[-4:]
    assert summary[0] == '6 of 8 images read' and summary[1] == '2 cannot be read:'
    assert '000.png: ' in summary[2] and 'is empty' in summary[2]
    assert 'bad\\nname.png: ' in summary[3]
    assert infer(photos, '--strict')[0] == 1
    assert infer(photos / '001.png', '--strict')[0] == 0
    code, lines, err = infer(photos / '000.png', 'nowhere.png')
    assert code == 1 and len(lines) == 2
    assert 'nowhere.png: There is no such file.' in err


def test_many_unreadable(infer, tmp_path):
    code, lines, err = infer(*(f'{number}.png' for number in range(25)))
    assert code == 1 and len(lines) == 25
    assert err.count('no such file') == 20
    assert 'and 5 more, which have an "error" in their lines' in err


def test_resume(infer, photos, tmp_path):
    out = tmp_path / 'labels.jsonl'
    # There is nothing to go on from.
    infer(photos / '00[0-2].png', '--out', out, '--resume')
    assert len(read(out)) == 3
    with out.open('a') as file:
        file.write('{"image": "cut o')
    code, _, err = infer(photos, '--out', out, '--resume')
    assert code == 0 and '4 of 4 images read, 3 had a line before' in err
    assert [Path(line['image']).name for line in read(out)] == [
        f'{number:03}.png' for number in range(7)
    ]
    code, _, err = infer(photos, '--out', out, '--resume')
    assert code == 0 and '0 of 0 images read, 7 had' in err
    out.write_text('a;b\n')
    code, _, err = infer(photos, '--out', out, '--resume')
    assert code == 2 and 'Line 1 of' in err and out.read_text() == 'a;b\n'


def test_names_that_are_no_text(infer, photos, tmp_path):
    name = os.fsdecode(b'caf\xe9.png')
    shutil.copy(photos / '000.png', photos / name)
    shutil.copy(photos / '000.png', photos / '写真.png')
    out = tmp_path / 'labels.jsonl'
    code, _, _ = infer(photos / '*[!0-9].png', '--out', out)
    assert code == 0
    text = out.read_text('utf-8')
    assert '写真' in text
    assert {Path(line['image']).name for line in read(out)} == {name, '写真.png'}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(config='nowhere.py'),
            'infer: There is no config file nowhere.py, and no ',
        ),
        (dict(config='nothing'), "infer: 'nothing' is neither"),
        (dict(checkpoint='no.pth'), 'infer: Checkpoint no.pth does not exist.'),
    ],
)
def test_errors_in_one_line(infer, photos, tmp_path, changes, message):
    out = tmp_path / 'labels.jsonl'
    code, lines, err = infer(photos, '--out', out, **changes)
    assert (code, lines) == (2, [])
    assert err.splitlines()[-1].startswith(message)
    assert not out.exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--thr', '2'], "--thr: expected a number from 0 to 1, got '2'"),
        (['--thr', 'nan'], "--thr: expected a number from 0 to 1, got 'nan'"),
        (['--batch-size', '0'], '--batch-size: expected an integer of at least 1, got'),
        (['--workers', '-1'], "--workers: expected an integer of at least 0, got '-1'"),
        (['--top-k', '0'], "--top-k: expected an integer of at least 1, got '0'"),
    ],
)
def test_bad_values(infer, photos, options, message):
    code, lines, err = infer(photos, *options)
    assert (code, lines) == (2, [])
    assert f'error: argument {message}' in err.splitlines()[-1]


def test_bad_device(infer, photos):
    code, lines, err = infer(photos, '--device', 'nonsense')
    assert (code, lines) == (2, [])
    assert err.splitlines()[-1].startswith('infer: ') and 'nonsense' in err


def test_no_image(infer, tmp_path):
    (tmp_path / 'empty').mkdir()
    code, _, err = infer(tmp_path / 'empty')
    assert code == 2 and 'no image in the folder' in err
    assert err.endswith(' Folders inside of it need --recursive.\n')


@pytest.mark.parametrize(
    'options', [['--resume'], ['--thr', '0.5', '--decisions', 'x'], ['--amp=3']]
)
def test_flags_that_contradict(options):
    with pytest.raises(SystemExit) as error:
        make_parser('infer').read(['a', 'b', 'c', *options])
    assert error.value.code == 2


def test_reader_that_leaves(config, checkpoint, photos, monkeypatch):
    monkeypatch.setattr('mlcl_plugin.engine.keep_memory', lambda: None)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, 'w', buffering=1) as pipe:
        monkeypatch.setattr(sys, 'stdout', pipe)
        assert tool.main([str(photos), str(config), str(checkpoint)]) == 1


def test_resume_with_another_threshold(infer, photos, tmp_path):
    out = tmp_path / 'labels.jsonl'
    (tmp_path / 'mended.png').write_bytes(b'')
    inputs = [photos / '000.png', tmp_path / 'mended.png']
    infer(*inputs, '--out', out, '--thr', '0.5')
    assert [('error' in line) for line in read(out)] == [False, True]
    code, _, err = infer(photos, '--out', out, '--resume', '--thr', '0.4')
    assert code == 2
    assert 'was made with other thresholds, 0.5. Use another file' in err
    assert 'by --overwrite' in err.splitlines()[-1]
    # an image that has been mended gets its labels
    shutil.copy(photos / '001.png', tmp_path / 'mended.png')
    code, _, err = infer(*inputs, '--out', out, '--resume', '--thr', '0.5')
    assert code == 0 and '1 of 1 images read, 1 had a line before' in err
    assert [set(line) for line in read(out)] == [{'image', 'labels'}] * 2


def test_folder_of_mixed_photographs(infer, photos, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        'mlcl_plugin.inference.sources.print_log', lambda text, **_: found.append(text)
    )
    folder = tmp_path / 'mixed'
    folder.mkdir()
    image = cv2.imread(str(photos / '000.png'))
    for name in ('a.jpg', 'b.gif', 'c.jfif', 'd.jpe'):
        content = cv2.imencode('.gif' if name == 'b.gif' else '.jpg', image)[1]
        (folder / name).write_bytes(content.tobytes())
    (folder / 'E.HEIC').touch()
    code, lines, _ = infer(folder)
    assert code == 0 and all('labels' in line for line in lines) and len(lines) == 4
    assert found == [
        f'{folder}: 4 images taken. 1 other file was passed over: 1 .heic (no decoder).'
    ]


def test_urls_and_limit(infer, photos):
    url = f'file://{photos}/000.png'
    code, lines, _ = infer(url, 'ftp://host/a.png')
    assert code == 0 and 'labels' in lines[0]
    assert "begins with 'ftp', which cannot be read" in lines[1]['error']
    code, lines, _ = infer(photos / '000.png', '--max-pixels', '10')
    assert code == 1 and 'more than max_pixels=10' in lines[0]['error']


def test_names_that_notepad_saved(infer, photos, tmp_path):
    names = tmp_path / 'names.txt'
    names.write_bytes('\ufeffcat\r\ndog\r\nowl\r\n'.encode())
    _, lines, _ = infer(photos / '000.png', '--all-scores', '--classes', names)
    assert list(lines[0]['scores']) == ['cat', 'dog', 'owl']


def test_parquet(infer, launched, photos, tmp_path):
    """Killed, resumed and as one call: a row for each image, as in the lines."""
    pandas = pytest.importorskip('pandas')
    pytest.importorskip('pyarrow')
    out, lines = tmp_path / 'answers.parquet', tmp_path / 'answers.parquet.jsonl'
    (photos / '003.png').write_bytes(b'no image')
    infer(photos, '--out', out, '--all-scores')
    table, whole = pandas.read_parquet(out), lines.read_text()
    results = [x for x in read(lines) if 'error' not in x]
    assert len(table) == len(results) == 6 and 'error' in whole
    for (_, row), result in zip(table.iterrows(), results):
        assert row['image'] == result['image']
        found = zip(row['labels'], row['scores'], row['thresholds'])
        assert [dict(zip(('label', 'score', 'threshold'), x)) for x in found] == [
            {key: x[key] for key in ('label', 'score', 'threshold')}
            for x in result['labels']
        ]
        assert {n: row[f'score:{n}'] for n in CLASSES} == result['scores']
    assert table['labels'].map(len).sum() > 0
    # As any table of labels.
    names = read_labels(out, classes=CLASSES)
    assert names.images == tuple(table['image'])
    assert names.targets.sum() == table['labels'].map(len).sum()

    code, _, err = infer(photos, '--out', out)
    assert code == 2 and 'answers.parquet exists. Add --resume to go on' in err
    # Killed while lines were written: they are what the next call goes on from.
    out.unlink()
    lines.write_text(''.join(whole.splitlines(keepends=True)[:2]) + '{"image": "cut')
    code, _, err = infer(photos, '--out', out, '--all-scores', '--resume')
    assert code == 0 and '4 of 5 images read, 2 had a line before, ' in err
    assert len(read(lines)) == 7
    again = pandas.read_parquet(out)
    for column in ('image', 'labels'):
        assert again[column].map(str).equals(table[column].map(str))
    assert not list(tmp_path.glob('*.part'))
    # Several processes; other options.
    code, _, err = launched(photos, '--out', out, '--overwrite')
    assert code == 0
    assert list(pandas.read_parquet(out)) == 'image labels scores thresholds'.split()


def test_parquet_without_pyarrow(infer, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    code, _, err = infer(photos, '--out', tmp_path / 'answers.parquet')
    assert code == 2 and err.splitlines()[-1].endswith(
        'answers.parquet needs pyarrow: pip install "mlcl_plugin[tools]". JSON Lines '
        '(.jsonl) need nothing.'
    )
    assert not list(tmp_path.glob('answers*'))


@pytest.fixture
def launched(infer, monkeypatch):
    """Function that calls the tool as torchrun does, in this process alone."""
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '1')
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    # It would end this process with its parent.
    monkeypatch.setattr('mlcl_plugin.engine.end_with_launcher', lambda cfg: None)

    def call(*args):
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = server.getsockname()[1]
        monkeypatch.setenv('MASTER_PORT', str(port))
        try:
            return infer(*args, '--launcher', 'pytorch')
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()

    return call


def test_several_processes_that_were_killed(infer, launched, photos, tmp_path):
    """Each image once, whatever the processes before have left."""
    whole, out = tmp_path / 'whole.jsonl', tmp_path / 'labels.jsonl'
    infer(photos, '--out', whole)
    lines = whole.read_text().splitlines(keepends=True)
    record = whole.with_name('whole.jsonl.made_with.json')

    def leave(**parts):
        """What was there when they were killed."""
        for name, text in parts.items():
            path = out if name == 'out' else tmp_path / f'labels.jsonl.{name}'
            path.write_text(text)
            shutil.copy(record, f'{path}.made_with.json')

    failed = json.dumps(dict(image=f'{photos}/006.png', error='no such file')) + '\n'
    broken = lines[4][:-9]
    leave(
        # In the joining, with a line that is still in a part.
        out=lines[0] + lines[1],
        rank0=lines[0] + lines[2] + failed,
        rank1=lines[1] + lines[3] + broken,
        rank11=lines[5],
    )
    code, _, err = launched(photos, '--out', out)
    assert code == 2 and 'labels.jsonl exists' in err
    code, _, err = launched(photos, '--out', out, '--resume')
    assert code == 0 and '2 of 2 images read, 5 had a line before' in err
    # Those that were done come first.
    assert sorted(out.read_text().splitlines(keepends=True)) == lines
    assert {path.name for path in tmp_path.glob('labels*')} == {
        'labels.jsonl',
        'labels.jsonl.made_with.json',
    }
    code, _, err = launched(photos, '--out', out, '--resume')
    assert code == 0 and '0 of 0 images read, 7 had a line before' in err

    leave(rank3=lines[5])
    out.unlink()
    code, _, err = launched(photos, '--out', out)
    assert code == 2 and 'of a call that did not end. Add --resume' in err
    code, _, err = launched(photos, '--out', out, '--resume', '--thr', '0.1')
    assert code == 2 and 'rank3 was made with other thresholds' in err
    code, _, err = launched(photos, '--out', out, '--overwrite')
    assert code == 0 and out.read_text() == whole.read_text()
    assert not list(tmp_path.glob('*rank*'))


def test_launcher_without_torchrun(infer, photos, tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    code, _, err = infer(photos, '--launcher', 'pytorch')
    assert code == 2 and '--launcher needs --out FILE' in err
    out = tmp_path / 'labels.jsonl'
    code, _, err = infer(photos, '--launcher', 'pytorch', '--out', out)
    assert code == 2 and '--launcher pytorch needs a start by torchrun' in err


@pytest.mark.slow
def test_two_processes(config, checkpoint, infer, photos, tmp_path):
    """The lines are those of one process, in its order, also after a kill."""
    whole, out = tmp_path / 'whole.jsonl', tmp_path / 'labels.jsonl'
    # An image that is named twice has two lines.
    inputs = [photos, photos / '003.png']
    infer(*inputs, '--out', whole, '--all-scores')

    def assert_same(one, two):
        """Without pictures; other batches round otherwise."""
        assert one['image'] == two['image']
        assert one['scores'] == pytest.approx(two['scores'], abs=1e-5)
        for a, b in zip(one['labels'], two['labels'], strict=True):
            assert a['label'] == b['label']

    def start(*options):
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = server.getsockname()[1]
        script = PATH.parent / 'dist_infer.sh'
        words = [script, 2, *inputs, config, checkpoint, '--out', out, '--all-scores']
        environment = dict(PORT=str(port), PYTHON=sys.executable, OMP_NUM_THREADS='1')
        return subprocess.Popen(
            [*map(str, words), '--out-dir', str(tmp_path / 'pictures'), *options],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    process = start()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    by_name = dict(key=lambda line: line['image'])
    expected, found = sorted(read(whole), **by_name), sorted(read(out), **by_name)
    for one, two in zip(found, expected, strict=True):
        assert_same(one, two)
    names = [Path(line['image']).name for line in read(out)]
    assert list(dict.fromkeys(names)) == [f'{number:03}.png' for number in range(7)]
    assert err.count('8 of 8 images read') == 1
    assert len(list((tmp_path / 'pictures').iterdir())) == 8
    process = start('--overwrite')
    part = tmp_path / 'labels.jsonl.rank1'
    for _ in range(3000):
        if part.exists() and part.stat().st_size:
            break
        time.sleep(0.1)
    process.kill()
    process.communicate(timeout=60)
    process = start('--resume')
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    # Of the image that is named twice, only the first line may have been written.
    found = read(out)
    assert len(found) in (7, 8)
    expected = {line['image']: line for line in expected}
    assert {line['image'] for line in found} == set(expected)
    for line in found:
        assert_same(line, expected[line['image']])
    assert not list(tmp_path.glob('*rank*'))
