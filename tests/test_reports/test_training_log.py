# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest

from mlcl_plugin.reports import training_log
from mlcl_plugin.reports.training_log import read_scalars


def write(folder, start, *rows):
    file = folder / start / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    text = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text('\n'.join(text))


def test_order_of_the_training(tmp_path):
    write(tmp_path, '20260102_000000', dict(iter=3, loss=1.0), dict(step=2, x=2))
    write(
        tmp_path,
        '20260101_000000',
        dict(iter=1, loss=3.0),
        dict(step=1, x=1),
        dict(iter=2, loss=2.0),
    )
    rows = read_scalars(tmp_path, 'step1')
    assert [(row.get('iter'), row.get('step')) for row in rows] == [
        (1, None),
        (None, 1),
        (2, None),
        (3, None),
        (None, 2),
    ]
    assert {row['part'] for row in rows} == {'step1'}


def test_a_resume_repeats_what_was_lost(tmp_path):
    """The run was killed after iteration 4 and goes on from a checkpoint of 2."""
    first = [dict(iter=n, loss=10 + n) for n in range(1, 5)]
    write(tmp_path, '20260101_000000', *first, dict(step=1, x=1), dict(step=2, x=2))
    second = [dict(iter=n, loss=20 + n) for n in range(3, 6)]
    write(tmp_path, '20260102_000000', *second, dict(step=2, x=3))
    rows = read_scalars(tmp_path)
    losses = [(r['iter'], r['loss']) for r in rows if 'iter' in r]
    assert losses == [(1, 11), (2, 12), (3, 23), (4, 24), (5, 25)]
    assert [(r['step'], r['x']) for r in rows if 'iter' not in r] == [(1, 1), (2, 3)]


def test_lines_that_are_no_rows(tmp_path):
    lines = ['{"iter": 1, "lo', '[1, 2]', '{"iter": "x"}', '{"iter": NaN}', '7', '']
    write(tmp_path, '20260101_000000', *lines, dict(iter=2, loss=1), '[' * 100_000)
    assert read_scalars(tmp_path) == [dict(iter=2, loss=1, part='')]


def test_nothing(tmp_path):
    assert read_scalars(tmp_path) == []


def test_too_large(tmp_path, monkeypatch):
    write(tmp_path, '20260101_000000', dict(iter=1, loss=1.0))
    monkeypatch.setattr(training_log, 'MAX_BYTES', 5)
    with pytest.raises(ValueError, match='bytes, more than 5'):
        read_scalars(tmp_path)


def test_pipe(tmp_path):
    """Reading it would never end."""
    folder = tmp_path / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    os.mkfifo(folder / 'scalars.json')
    with pytest.raises(ValueError, match='named pipe'):
        read_scalars(tmp_path)
