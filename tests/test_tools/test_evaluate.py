# SPDX-License-Identifier: Apache-2.0
import csv
import importlib.util
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from mlcl_plugin.commands import make_parser
from mlcl_plugin.evaluation import MultiLabelRecognitionMetric
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump

PATH = Path(__file__).parents[2] / 'tools/analysis_tools/evaluate.py'
spec = importlib.util.spec_from_file_location('tools_evaluate', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

CLASSES = ('cat', 'dog', 'Käuzchen', '$x_1$')
calculate = MultiLabelRecognitionMetric.calculate


def make_dump(noise=0.5, num_images=150, seed=0):
    """Dogs are taken for cats; the third label has no positive."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, 4)) < 0.3).astype(int)
    targets[:, 2] = 0
    targets[rng.random(targets.shape) < 0.05] = -1
    logits = 3 * (targets == 1) - 1.5
    logits[:, 0] += 3 * ((targets[:, 1] == 1) & (rng.random(num_images) < 0.7))
    logits = logits + np.random.default_rng(seed + 1).normal(size=logits.shape)
    logits += noise * np.random.default_rng(int(noise * 99)).normal(size=logits.shape)
    images = [f'images/{number}.jpg' for number in range(num_images)]
    return ScoreDump(1 / (1 + np.exp(-logits)), targets, CLASSES, images)


@pytest.fixture
def dumps(tmp_path):
    made = {'good': make_dump(0.3), 'bad': make_dump(3.0)}
    for name, dump in made.items():
        dump.save(tmp_path / f'{name}.csv')
    return made


def call(tmp_path, *args):
    out = tmp_path / 'new folder'
    args = [*args, '--out', out, '--resamples', 100]
    tool.main(list(map(str, args)))
    report = json.loads((out / 'report.json').read_text(encoding='utf-8'))
    rows = {}
    for name in ('labels', 'confused_pairs'):
        with (out / f'{name}.csv').open(newline='', encoding='utf-8') as file:
            rows[name] = list(csv.DictReader(file))
    return report, rows['labels'], rows['confused_pairs'], out


def test_one_dump(dumps, tmp_path, capsys):
    report, labels, pairs, out = call(tmp_path, tmp_path / 'good.csv')
    dump = dumps['good']
    expected = calculate(dump.scores, dump.targets, class_names=CLASSES)
    (content,) = report['dumps']
    for key, value in content['metrics'].items():
        assert value == expected[key], key
    for key, (low, high) in content['intervals'].items():
        assert low < expected[key] < high
    assert [row['label'] for row in labels] == list(CLASSES)
    for row in labels:
        if row['label'] == 'Käuzchen':
            assert row['AP'] == row['recall'] == row['AP_low'] == ''
            continue
        ap = float(row['AP'])
        assert ap == pytest.approx(expected[f'AP/{row["label"]}'])
        assert float(row['AP_low']) < float(row['AP']) < float(row['AP_high'])
    assert (pairs[0]['present'], pairs[0]['predicted']) == ('dog', 'cat')
    picture = cv2.imread(str(out / 'precision_recall.png'))
    assert picture.std() > 10
    printed = capsys.readouterr().out
    text = (out / 'report.md').read_text(encoding='utf-8')
    assert text in printed and '## Comparison' not in text
    assert f'{expected["mAP"]:.2f} (' in text and 'Käuzchen' in text


@pytest.mark.parametrize('options', [('--thr', 0.3), ('--thr', 0.6, '--topk', 1)])
def test_thresholds(dumps, tmp_path, options):
    report, labels, _, _ = call(tmp_path, tmp_path / 'good.csv', *options)
    dump = dumps['good']
    values = dict(zip(options[::2], options[1::2]))
    expected = calculate(
        dump.scores, dump.targets, values['--thr'], values.get('--topk', 3)
    )
    assert report['dumps'][0]['metrics'] == expected
    assert {row['threshold'] for row in labels} == {str(values['--thr'])}


def test_decisions(dumps, tmp_path):
    for number, thresholds in enumerate(([0.2, 0.4, 0.6, 0.8], [0.5] * 4)):
        decisions = Decisions(CLASSES, thresholds, [2.0, 1.0, 1.0, 0.5])
        decisions.save(tmp_path / f'{number}.json')
    paths = [tmp_path / f'{name}.csv' for name in dumps]
    files = [str(tmp_path / f'{number}.json') for number in range(2)]
    for given in (files[:1], files):
        report, labels, _, out = call(tmp_path, *paths, '--decisions', *given)
        for content, dump, file in zip(
            report['dumps'], dumps.values(), given * 2 if len(given) == 1 else given
        ):
            expected = calculate(dump.scores, dump.targets, decisions=file)
            assert content['metrics'] == expected
        assert report['decisions'] == given and report['thr'] is None
        assert labels[0]['threshold'] == '0.2' and labels[0]['temperature'] == '2.0'
    assert '| temperature |' in (out / 'report.md').read_text(encoding='utf-8')


def test_comparison(dumps, tmp_path, capsys):
    """Images in another order, in another folder and another form."""
    bad = dumps['bad']
    order = np.random.default_rng(0).permutation(len(bad.images))
    ScoreDump(
        bad.scores[order],
        bad.targets[order],
        CLASSES,
        [f'/else/{bad.images[i]}' for i in order],
    ).save(tmp_path / 'shuffled.parquet')
    report, labels, pairs, out = call(
        tmp_path, tmp_path / 'good.csv', tmp_path / 'shuffled.parquet'
    )
    first, second = report['dumps']
    assert (first['name'], second['name']) == ('good', 'shuffled')
    assert second['metrics'] == calculate(bad.scores, bad.targets)
    for key, value in second['minus_first'].items():
        expected = second['metrics'][key] - first['metrics'][key]
        assert value['value'] == pytest.approx(expected, abs=1e-3)
        assert value['low'] < value['value'] < value['high']
    assert second['minus_first']['mAP']['p'] == pytest.approx(1 / 101)
    assert len(labels) == 8 and {row['dump'] for row in pairs} >= {'good'}
    assert float(labels[4]['AP_minus_first']) == pytest.approx(
        float(labels[4]['AP']) - float(labels[0]['AP'])
    )
    text = (out / 'report.md').read_text(encoding='utf-8')
    assert '## Comparison' in text and 'minus good' in text


def test_three_dumps_with_one_name(dumps, tmp_path):
    """Named by their paths; p-values hold for both comparisons."""
    paths = []
    for folder in 'abc':
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / 'scores.csv')
    for path, noise in zip(paths, (0.3, 1.0, 3.0)):
        make_dump(noise).save(path)
    report, *_ = call(tmp_path, *paths)
    assert [dump['name'] for dump in report['dumps']] == list(map(str, paths))
    p_values = [dump['minus_first']['mAP'] for dump in report['dumps'][1:]]
    smallest = min(p_values, key=lambda p: p['p'])
    assert smallest['p_holm'] == pytest.approx(min(1, 2 * smallest['p']))


def test_same_file_twice(dumps, tmp_path):
    report, *_ = call(tmp_path, tmp_path / 'good.csv', tmp_path / 'good.csv')
    first, second = report['dumps']
    assert first['name'] != second['name']
    assert second['minus_first']['mAP']['value'] == 0
    assert second['minus_first']['mAP']['p'] == 1


def test_many_labels(tmp_path, capsys, monkeypatch):
    """The worst are printed, all are written."""
    monkeypatch.setattr('mlcl_plugin.commands.evaluate.PRINTED_LABELS', 2)
    make_dump().save(tmp_path / 'scores.csv')
    _, _, _, out = call(tmp_path, tmp_path / 'scores.csv')
    printed = capsys.readouterr().out
    assert 'the worst 2 labels' in printed and 'Käuzchen' not in printed
    assert 'Käuzchen' in (out / 'report.md').read_text(encoding='utf-8')


def test_nothing_present(tmp_path):
    """No AP, no curve, no pair; still all files."""
    dump = make_dump(num_images=5)
    absent = np.where(dump.targets == 1, 0, dump.targets)
    ScoreDump(dump.scores, absent, CLASSES, dump.images).save(tmp_path / 'x.csv')
    report, _, pairs, out = call(tmp_path, tmp_path / 'x.csv')
    assert report['dumps'][0]['metrics']['mAP'] is None and pairs == []
    assert not (out / 'precision_recall.png').exists()
    assert not any(
        isinstance(value, float) and math.isnan(value)
        for value in report['dumps'][0]['metrics'].values()
    )
    # nor is there anything to compare
    ScoreDump(1 - dump.scores, absent, CLASSES, dump.images).save(tmp_path / 'y.csv')
    report, *_ = call(tmp_path / 'second', tmp_path / 'x.csv', tmp_path / 'y.csv')
    assert report['dumps'][1]['minus_first']['mAP']['p'] is None
    assert report['dumps'][1]['minus_first']['mAP']['p_holm'] is None


def test_faults_in_one_line(dumps, tmp_path, capsys):
    other = dumps['bad']
    ScoreDump(other.scores[1:], other.targets[1:], CLASSES, other.images[1:]).save(
        tmp_path / 'fewer.csv'
    )
    Decisions(CLASSES[::-1], [0.5] * 4).save(tmp_path / 'other.json')
    good = str(tmp_path / 'good.csv')
    for args, message in (
        ([str(tmp_path / 'gone.csv')], 'There is no score dump'),
        ([good, str(tmp_path / 'fewer.csv')], 'fewer.csv cannot be compared with'),
        ([good, '--decisions', str(tmp_path / 'other.json')], 'in another order'),
        ([good, '--decisions', str(tmp_path / 'gone.json')], 'no decision file'),
    ):
        with pytest.raises(SystemExit) as exit_:
            tool.main([*args, '--resamples', '5'])
        assert exit_.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith('evaluate: ') and message in error
        assert error.count('\n') == 1


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (
            ['a.csv', '--topk', '0'],
            "--topk: expected an integer of at least 1, got '0",
        ),
        (['a.csv', '--thr', 'nan'], "--thr: expected a number, got 'nan'"),
        (['a.csv', '--decisions', 'x', 'y'], 'one for each of the 1 dumps, got 2'),
        (['a.csv'] * 7, 'at most 6 dumps, got 7'),
    ],
)
def test_bad_options(capsys, args, message):
    with pytest.raises(SystemExit) as exit_:
        make_parser('evaluate').read(args)
    assert exit_.value.code == 2
    assert message in ' '.join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ('scale', 'hint'),
    [
        (lambda p: 100 * p, 'or divide percent by 100'),
        (lambda p: np.log(p) - np.log(1 - p), 'the sigmoid of logits'),
    ],
)
def test_scores_in_percent_or_logits(tmp_path, capsys, scale, hint):
    """A threshold of 0.5 is not for them."""
    dump = make_dump()
    scores = scale(dump.scores.astype(np.float64).clip(1e-6, 1 - 1e-6))
    ScoreDump(scores, dump.targets, CLASSES, dump.images).save(tmp_path / 'a.csv')
    with pytest.raises(SystemExit) as error:
        call(tmp_path, tmp_path / 'a.csv')
    assert error.value.code == 2
    message = capsys.readouterr().err
    assert 'a.csv: scores must be from 0 to 1 for --thr 0.5, got ' in message
    assert hint in message and 'of images/0.jpg' in message
    # one that was chosen is taken as it is
    threshold = float(scale(np.array(0.3)))
    report, labels, _, _ = call(tmp_path, tmp_path / 'a.csv', '--thr', threshold)
    expected = calculate(dump.scores, dump.targets, 0.3, 3)
    assert report['dumps'][0]['metrics']['CF1'] == pytest.approx(expected['CF1'])


def test_names_that_are_code_elsewhere(tmp_path, capsys):
    """Formulas of spreadsheets, HTML, Markdown, and commands of terminals."""
    classes = ['=HYPERLINK("x")', '<b>*cat*', '@dog | owl', '\x1b[31mred']
    dump = make_dump()
    ScoreDump(dump.scores, dump.targets, classes, dump.images).save(tmp_path / 'a.csv')
    _, labels, pairs, out = call(tmp_path, tmp_path / 'a.csv', '--spreadsheet')
    names = [row['label'] for row in labels]
    assert names == ['\'=HYPERLINK("x")', '<b>*cat*', "'@dog | owl", '\x1b[31mred']
    assert {row['present'][0] for row in pairs} <= {"'", '<', '\x1b'}
    for text in (capsys.readouterr().out, (out / 'report.md').read_text('utf-8')):
        assert r'\<b\>\*cat\*' in text and r'@dog \| owl' in text
        assert r'\x1b\[31mred' in text.replace('\\\\', '\\')
        assert '\x1b' not in text and '<b>' not in text
    _, labels, _, _ = call(tmp_path, tmp_path / 'a.csv')
    assert [row['label'] for row in labels] == classes
