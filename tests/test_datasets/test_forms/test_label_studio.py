# SPDX-License-Identifier: Apache-2.0
"""Exports have the fields of those that Label Studio 1 wrote."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mlcl_plugin.commands import main
from mlcl_plugin.datasets.forms import guess_form, read_labels, write_labels
from mlcl_plugin.datasets.forms.label_studio import _agree


def result(*names, control='labels'):
    value = dict(choices=list(names))
    return [dict(from_name=control, to_name='image', type='choices', value=value)]


def task(number, *answers, cancelled=False, prediction=None):
    annotations = [
        dict(id=i, completed_by=i, result=result(*a) if a else [], was_cancelled=False)
        for i, a in enumerate(answers)
    ]
    if cancelled:
        annotations.append(dict(id=9, result=result('cat'), was_cancelled=True))
    return dict(
        id=number,
        data=dict(image=f'/data/local-files/?d=photos/{number}%20a.jpg'),
        annotations=annotations,
        predictions=[dict(model_version='m', result=result(*prediction))]
        if prediction
        else [],
    )


def write(tmp_path, tasks):
    path = tmp_path / 'export.json'
    path.write_text(json.dumps(tasks))
    return path


def test_json(tmp_path):
    tasks = [
        task(1, ['cat', 'dog']),
        task(2, [], prediction=['dog']),
        task(3, prediction=['owl']),
        task(4, cancelled=True),
    ]
    path = write(tmp_path, tasks)
    assert guess_form(path) == 'label-studio'
    labels = read_labels(path, classes=['cat', 'dog', 'owl'])
    assert labels.images == tuple(f'photos/{i} a.jpg' for i in (1, 2, 3, 4))
    expected = [[1, 1, 0], [0, 0, 0], [-1, -1, -1], [-1, -1, -1]]
    assert labels.targets.toarray().tolist() == expected
    assert read_labels(path).classes == ('cat', 'dog')
    guessed = read_labels(path, classes=['cat', 'dog', 'owl'], predictions=True)
    assert guessed.targets.toarray()[2].tolist() == [0, 0, 1]


def test_json_min_and_csv(tmp_path):
    extra = dict(annotator=1, created_at='x', updated_at='x', lead_time=None)
    rows = [
        dict(image='/data/upload/1/0123abcd-a.jpg', labels='cat', annotation_id=1),
        dict(image='b.jpg', labels=dict(choices=['cat', 'dog']), annotation_id=2),
        dict(image='c.jpg', annotation_id=3),
    ]
    path = write(tmp_path, [row | extra for row in rows])
    table = tmp_path / 'export.csv'
    table.write_text(
        '"annotation_id","annotator","created_at","id","image","labels","lead_time"\n'
        '1,"1","x",1,"/data/upload/1/0123abcd-a.jpg","cat",""\n'
        '2,"1","x",2,"b.jpg","{""choices"":[""cat"",""dog""]}",""\n'
        '3,"1","x",3,"c.jpg","",""\n'
        '"","","",4,"d.jpg","",""\n'
    )
    assert guess_form(table) == 'label-studio'
    flat, cells = read_labels(path), read_labels(table)
    assert flat.images == ('a.jpg', 'b.jpg', 'c.jpg')
    assert cells.images == ('a.jpg', 'b.jpg', 'c.jpg', 'd.jpg')
    expected = [[1, 0], [1, 1], [0, 0]]
    assert flat.targets.toarray().tolist() == expected
    assert cells.targets.toarray().tolist() == [*expected, [-1, -1]]


def test_data_beside_answers(tmp_path):
    """Numbers are data; text may be either, and control= tells."""
    row = dict(image='a.png', year=2020, new=True, place=dict(x=1), choice='cat')
    path = write(tmp_path, [row | dict(annotation_id=4)])
    labels = read_labels(path)
    assert labels.classes == ('cat',) and labels.targets.toarray().tolist() == [[1]]
    with pytest.raises(ValueError, match="'year': the choices are 2020, expected"):
        read_labels(path, control='year')
    path = write(tmp_path, [row | dict(annotation_id=4, boxes=[dict(x=1)])])
    message = "'boxes': the choices are .* what does: control='NAME'"
    with pytest.raises(ValueError, match=message):
        read_labels(path)
    assert read_labels(path, control='choice').classes == ('cat',)
    path = write(tmp_path, [row | dict(annotation_id=4, title='x')])
    with pytest.raises(ValueError, match=r"2 controls .*'choice', 'title'.*control="):
        read_labels(path)


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [('any', [1, 1]), ('all', [1, 0]), ('majority', [1, 0]), ('unknown', [1, -1])],
)
def test_annotators(tmp_path, rule, expected):
    path = write(tmp_path, [task(1, ['cat', 'dog'], ['cat'], ['cat'])])
    labels = read_labels(path, annotators=rule)
    assert labels.targets.toarray().tolist() == [expected]
    message = r"disagree about 1 of 1 images, the first: 'photos/1 a.jpg' \(dog\)"
    with pytest.raises(ValueError, match=message):
        read_labels(path)


def test_majority_against_a_loop():
    rng = np.random.default_rng(0)
    for number in (1, 2, 3, 4):
        said = rng.integers(0, 2, (number, 9)).astype(np.int8)
        expected = []
        for label in range(9):
            ayes = sum(int(row[label]) for row in said)
            noes = number - ayes
            expected.append(1 if ayes > noes else 0 if noes > ayes else -1)
        assert _agree(said, 'majority').tolist() == expected


def test_several_controls(tmp_path):
    both = task(1, ['cat'])
    both['annotations'][0]['result'] += result('blurred', control='quality')
    path = write(tmp_path, [both])
    with pytest.raises(ValueError, match=r"2 controls .*'labels', 'quality'"):
        read_labels(path)
    assert read_labels(path, control='quality').classes == ('blurred',)
    with pytest.raises(ValueError, match="no choices of control='x'"):
        read_labels(path, control='x')


@pytest.mark.parametrize(
    ('tasks', 'message'),
    [
        ([3], 'task 1 is 3, expected an object'),
        ([dict(data=dict(text='x'))], "task 1 names no image: expected 'image'"),
        ([dict(data=dict(image='a'), annotations=7)], "'annotations' is 7, expected"),
        ([task(1)], 'has no choice at all'),
    ],
)
def test_errors(tmp_path, tasks, message):
    with pytest.raises(ValueError, match=message):
        read_labels(write(tmp_path, tasks))


def test_hostile(tmp_path):
    path = tmp_path / 'export.json'
    path.write_text('[' * 200_000)
    with pytest.raises(ValueError, match='nested too deeply'):
        read_labels(path)
    bad = task(1, ['cat'])
    bad['annotations'][0]['result'][0]['value']['choices'] = [{}]
    with pytest.raises(ValueError, match='expected names'):
        read_labels(write(tmp_path, [bad]))
    with pytest.raises(ValueError, match='does not begin with image_url='):
        read_labels(write(tmp_path, [task(1, ['cat'])]), image_url='s3://x/')


def test_answers_to_tasks_and_back(tmp_path, capsys):
    """Answers of ``mlcl infer`` become predictions, which people may confirm."""
    answers = tmp_path / 'answers.jsonl'
    lines = [
        dict(image='photos/a b.jpg', labels=[dict(label='R&B "x"', score=0.9)]),
        dict(image='photos/c.jpg', labels=[]),
        dict(image='photos/d.jpg', error='damaged'),
    ]
    answers.write_text('\n'.join(map(json.dumps, lines)) + '\n')
    tasks = tmp_path / 'tasks.json'
    assert main(['convert', str(answers), str(tasks), '--to', 'label-studio']) == 0
    assert 'To import into Label Studio' in capsys.readouterr().out
    content = json.loads(tasks.read_text())
    assert content[0]['data']['image'] == '/data/local-files/?d=photos/a%20b.jpg'
    assert len(content) == 2
    choices = ElementTree.parse(tmp_path / 'tasks.label_config.xml').iter('Choice')
    assert [choice.get('value') for choice in choices] == ['R&B "x"']
    back = read_labels(tasks, 'label-studio', predictions=True)
    assert back.images == ('photos/a b.jpg', 'photos/c.jpg')
    assert back.targets.toarray().tolist() == [[1], [0]]
    with pytest.raises(ValueError, match='can only be read'):
        write_labels(back, tmp_path / 'x.jsonl')
    answers.write_text('{"image": 3}\n')
    with pytest.raises(ValueError, match='line 1 is .*, expected an answer'):
        read_labels(answers)
