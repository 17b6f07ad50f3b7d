# SPDX-License-Identifier: Apache-2.0
import io
import json

import pytest

from mlcl_plugin.inference.result_lines import (
    MAX_NAMED,
    ResultFile,
    Summary,
    to_line,
    write_results,
)


def test_new_file(tmp_path):
    file = ResultFile(tmp_path / 'new/labels.jsonl')
    assert file.done_images() == set() and not file.path.exists()
    with file.open() as out:
        summary = write_results([dict(image='é.png', labels=[])], out)
    assert file.path.read_bytes() == '{"image": "é.png", "labels": []}\n'.encode()
    assert summary.text() == '1 of 1 images read'
    with pytest.raises(FileExistsError, match='exists. Add resume=True .*overwrite=T'):
        ResultFile(file.path)


def test_overwrite(tmp_path):
    path = tmp_path / 'labels.jsonl'
    path.write_text('something else')
    file = ResultFile(path, overwrite=True)
    assert file.done_images() == set()
    file.open().close()
    assert path.read_text() == ''


def test_resume(tmp_path):
    path = tmp_path / 'labels.jsonl'
    lines = [to_line(dict(image=name)) for name in ('a.png', 'b\n.png')]
    path.write_text(''.join(lines) + '{"image": "cut o')
    file = ResultFile(path, resume=True)
    assert file.done_images() == {'a.png', 'b\n.png'}
    assert path.read_text() == ''.join(lines)
    with file.open() as out:
        out.write('more\n')
    assert path.read_text() == ''.join([*lines, 'more\n'])
    with pytest.raises(ValueError, match='Line 3 of .*labels.jsonl is not the result'):
        file.done_images()
    assert path.read_text() == ''.join([*lines, 'more\n'])


@pytest.mark.parametrize('line', ['a;b', '3', '[]', '{"picture": "a.png"}'])
def test_something_else(tmp_path, line):
    path = tmp_path / 'labels.jsonl'
    path.write_text(line + '\n')
    with pytest.raises(ValueError, match='Line 1 of'):
        ResultFile(path, resume=True).done_images()


@pytest.mark.parametrize('name', ['a.png', '写真.png', 'caf\udce9.png', 'a\nb.png'])
@pytest.mark.parametrize('encoding', ['utf-8', 'ascii'])
def test_lines(name, encoding):
    line = to_line(dict(image=name), encoding)
    assert json.loads(line.encode(encoding))['image'] == name
    assert line.count('\n') == 1


def test_summary():
    results = [dict(image=f'{n}\n.png', error='no file') for n in range(MAX_NAMED + 2)]
    summary = write_results([*results, dict(image='a.png', labels=[])], io.StringIO())
    lines = summary.text(done=1234, outputs=['x.jsonl', 'y']).splitlines()
    assert lines[:3] == [
        f'1 of {MAX_NAMED + 3} images read, 1,234 had a line before, x.jsonl, y',
        f'{MAX_NAMED + 2} cannot be read:',
        '  0\\n.png: no file',
    ]
    assert len(lines) == 2 + MAX_NAMED + 1
    assert lines[-1] == '  and 2 more, which have an "error" in their lines'
    assert Summary().text() == '0 of 0 images read'


def test_lines_hold_no_commands_for_a_terminal():
    name = 'a\x9b31m\u202e\x1b[2J.png'
    line = to_line(dict(image=name))
    assert line.isascii() and line[:-1].isprintable()
    assert json.loads(line) == dict(image=name)
    summary = Summary()
    summary.add(dict(image=name, error='bad \x1b]0;x\x07'))
    assert summary.text().replace('\n', '').isprintable()


def test_images_that_could_not_be_read_are_tried_again(tmp_path):
    """They may have been mended meanwhile."""
    path = tmp_path / 'labels.jsonl'
    lines = [to_line(dict(image=name, labels=[])) for name in 'ac']
    path.write_text(lines[0] + to_line(dict(image='b', error='damaged')) + lines[1])
    file = ResultFile(path, resume=True)
    assert file.done_images() == {'a', 'c'}
    assert path.read_text() == ''.join(lines)
    assert list(tmp_path.iterdir()) == [path]


MADE = dict(
    checkpoint='a.pth',
    weights='00',
    model='1',
    pipeline='2',
    precision='float32',
    engine='torch',
    labels=['cat', 'dog'],
    thresholds=0.5,
    temperatures=None,
    topk=None,
    scores=False,
    attention=False,
)


def make(path, **changes):
    file = ResultFile(path, overwrite=True)
    with file.open(MADE | changes) as out:
        write_results([dict(image='é.png', labels=[])], out)


def test_record_of_what_lines_were_made_with(tmp_path):
    path = tmp_path / 'new/labels.jsonl'
    make(path)
    assert (
        json.loads((tmp_path / 'new/labels.jsonl.made_with.json').read_text()) == MADE
    )
    file = ResultFile(path, resume=True)
    file.check(dict(MADE, checkpoint='moved.pth'))
    with file.open(MADE) as out:
        write_results([dict(image='b.png', labels=[])], out)
    assert file.done_images() == {'é.png', 'b.png'}
    make(path, thresholds=0.3)
    assert json.loads(file.record.read_text())['thresholds'] == 0.3


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(weights='01', checkpoint='b.pth'), 'other weights of the model, a.pth'),
        (dict(model='3'), 'another model in the config'),
        (dict(pipeline='3'), 'another test pipeline in the config'),
        (dict(precision='bfloat16'), 'another precision, float32'),
        (
            dict(labels=['dog', 'cat']),
            "other labels: the same labels in another order: label 0 is 'cat' before, "
            "expected 'dog'",
        ),
        (dict(thresholds=0.4), 'other thresholds, 0.5'),
        (dict(thresholds=[0.5, 0.4]), 'other thresholds, 0.5'),
        (dict(temperatures=1.5), 'other temperatures, None'),
        (dict(topk=3), r'another number of labels \(top_k\), None'),
        (dict(scores=True), 'another choice of scores to write, False'),
        (dict(attention=True), 'another choice of attention'),
    ],
)
def test_another_model_or_rule(tmp_path, change, message):
    make(tmp_path / 'labels.jsonl')
    before = (tmp_path / 'labels.jsonl').read_bytes()
    file = ResultFile(tmp_path / 'labels.jsonl', resume=True)
    message = f'labels.jsonl was made with {message}.*overwrite=True'
    with pytest.raises(ValueError, match=message):
        file.check(MADE | change)
    # a new file, or one that is replaced, may be made in any way
    ResultFile(tmp_path / 'labels.jsonl', overwrite=True).check(MADE | change)
    ResultFile(tmp_path / 'other.jsonl', resume=True).check(MADE | change)
    assert (tmp_path / 'labels.jsonl').read_bytes() == before


def test_one_threshold_of_many(tmp_path):
    make(tmp_path / 'labels.jsonl', thresholds=[0.5, 0.25])
    file = ResultFile(tmp_path / 'labels.jsonl', resume=True)
    with pytest.raises(ValueError, match='made with other thresholds, 0.25'):
        file.check(dict(MADE, thresholds=[0.5, 0.75]))


def test_record_is_missing_or_damaged(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        'mlcl_plugin.inference.result_lines.print_log',
        lambda text, **_: found.append(text),
    )
    make(tmp_path / 'labels.jsonl')
    file = ResultFile(tmp_path / 'labels.jsonl', resume=True)
    for content in ('[', '[]', '[' * 100_000):
        file.record.write_text(content)
        with pytest.raises(ValueError, match='made_with.json is damaged'):
            file.check(MADE)
    file.record.unlink()
    file.check(MADE)
    assert (
        len(found) == 1 and 'made_with.json is missing, so it is not known' in found[0]
    )
    # what is not known does not become known by going on
    file.open(MADE).close()
    assert not file.record.exists()
