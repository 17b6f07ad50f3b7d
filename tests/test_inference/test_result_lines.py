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
