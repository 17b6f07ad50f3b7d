# SPDX-License-Identifier: Apache-2.0
import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from mlcl_plugin.evaluation import precision_recall_f1
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.reports.label_report import label_report

PATH = Path(__file__).parents[2] / 'tools/analysis_tools/thresholds.py'
spec = importlib.util.spec_from_file_location('tools_thresholds', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

CLASSES = ('cat', 'dog', 'Käuzchen', '$x_1$')


@pytest.fixture
def dump(tmp_path):
    """Scores that are too low, on disk in all forms."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-0.5, 2, (120, 4))
    targets = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    targets[rng.random(targets.shape) < 0.05] = -1
    scores = 1 / (1 + np.exp(2 - 2 * logits))
    dump = ScoreDump(scores, targets, CLASSES, [f'{i}.jpg' for i in range(120)])
    for suffix in ('.csv', '.parquet', '.pkl'):
        dump.save(tmp_path / f'scores{suffix}')
    return dump


def call(tmp_path, *options, suffix='.csv'):
    out = tmp_path / 'new folder' / 'decisions.json'
    args = [tmp_path / f'scores{suffix}', '--out', out, '--resamples', 20, *options]
    tool.main(list(map(str, args)))
    return Decisions.load(out)


def row_of(printed, name):
    (line,) = [line for line in printed.splitlines() if line.startswith(f'| {name} ')]
    return [cell.strip() for cell in line.strip('|').split('|')]


def decision_row(dump, printed):
    """Precision before, of the first label."""
    header = row_of(printed, 'label')
    return float(row_of(printed, CLASSES[0])[header.index('precision before')]) / 100


def test_default(dump, tmp_path, capsys):
    decisions = call(tmp_path)
    assert decisions.classes == CLASSES and decisions.temperatures is None
    assert len(set(decisions.thresholds)) == 4
    printed = capsys.readouterr().out
    before = precision_recall_f1(dump.scores >= 0.5, dump.targets)
    for key in ('CF1', 'OF1'):
        name, was, now, gain = row_of(printed, key)
        assert was.startswith(f'{100 * before[key]:.2f} (')
        after = decisions.info['after_cross_fitted'][key][0]
        assert now.startswith(f'{after:.2f} (') and gain.startswith('+')
    for name, threshold in zip(CLASSES, decisions.thresholds):
        assert row_of(printed, name)[2] == f'{threshold:.4f}'
    row = decision_row(dump, printed)
    assert row == pytest.approx(
        label_report(dump, Decisions.uniform(CLASSES, 0.5))[0]['precision'], abs=5e-5
    )
    assert 'cross-fitted' in printed and 'in-sample' not in printed
    assert 'had no part in them, CF1 is higher, OF1 is higher.' in printed
    assert decisions.info['dump'] == str(tmp_path / 'scores.csv')
    picture = cv2.imread(str(tmp_path / 'new folder' / 'decisions.png'))
    assert min(picture.shape[:2]) > 400 and picture.std() > 10


def test_same_from_every_form(dump, tmp_path):
    found = [
        call(tmp_path, '--calibrate', 'global', suffix=suffix)
        for suffix in ('.csv', '.parquet', '.pkl')
    ]
    for other in found[1:]:
        assert (found[0].thresholds == other.thresholds).all()
        assert (found[0].temperatures == other.temperatures).all()


@pytest.mark.parametrize('calibrate', ['global', 'per-label'])
def test_calibrate(dump, tmp_path, capsys, calibrate):
    decisions = call(tmp_path, '--calibrate', calibrate, '--in-sample', '--global')
    assert len(set(decisions.thresholds)) == 1
    assert len(set(decisions.temperatures)) == (1 if calibrate == 'global' else 4)
    printed = capsys.readouterr().out
    assert 'in-sample (too good)' in printed
    _, before, after, gain, in_sample = row_of(printed, 'ECE')
    assert float(after) < float(before) and gain.startswith('-')
    assert float(after) == round(decisions.info['after_cross_fitted']['ECE'], 2)


def test_targets(dump, tmp_path):
    decisions = call(tmp_path, '--target', 'precision=0.9')
    predicted = decisions.predict(dump.scores) & (dump.targets != -1)
    precision = (predicted & (dump.targets == 1)).sum(axis=0) / predicted.sum(axis=0)
    assert (precision >= 0.9).all()
    assert decisions.info['target'] == 'precision=0.9'


def test_names_of_labels(dump, tmp_path, capsys):
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(CLASSES), encoding='utf-8')
    assert call(tmp_path, '--classes', names).classes == CLASSES
    names.write_text('cat\ndog\n')
    args = [tmp_path / 'scores.csv', '--out', tmp_path / 'x.json', '--classes', names]
    with pytest.raises(SystemExit) as exit_:
        tool.main(list(map(str, args)))
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('thresholds: ') and 'has the labels' in error
    assert error.count('\n') == 1 and not (tmp_path / 'x.json').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--target', 'f2'], "Expected f1, precision=NUMBER.*got 'f2'"),
        (['--target', 'recall=2'], "got 'recall=2'"),
        (['--folds', '1'], "--folds: expected an integer of at least 2, got '1'"),
        (
            ['--resamples', '0'],
            "--resamples: expected an integer of at least 1, got '0",
        ),
        (['--thr', '2'], "--thr: expected a number from 0 to 1, got '2'"),
        (['--per-label', '--global'], 'not allowed with'),
        (['--out', 'x.csv'], '--out must end with .json, got x.csv'),
    ],
)
def test_bad_options(capsys, options, message):
    with pytest.raises(SystemExit) as exit_:
        tool.main(['scores.csv', '--out', 'x.json', *options])
    assert exit_.value.code == 2
    error = ' '.join(capsys.readouterr().err.split())
    assert re.search(message, error)


def test_missing_dump(tmp_path, capsys):
    args = [str(tmp_path / 'gone.csv'), '--out', str(tmp_path / 'x.json')]
    with pytest.raises(SystemExit) as exit_:
        tool.main(args)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f'thresholds: There is no score dump {args[0]}')
    assert error.count('\n') == 1


def test_priors(tmp_path, capsys):
    """Thresholds by hand, of a table with an unknown label and a split."""
    table, out = tmp_path / 'labels.csv', tmp_path / 'x.json'
    table.write_text(
        'image,cat,dog,split\n1.jpg,1,0,train\n2.jpg,0,,train\n3.jpg,0,1,train\n'
        '4.jpg,0,0,train\n5.jpg,1,1,val\n'
    )
    args = ['--priors', str(table), '--split', 'train', '--out', str(out)]
    tool.main([*args, '--strength', '1'])
    decisions = Decisions.load(out)
    assert decisions.classes == ('cat', 'dog')
    # (1 + 1) / (1 + 3 + 2) and (1 + 1) / (1 + 2 + 2)
    np.testing.assert_allclose(decisions.thresholds, [2 / 6, 2 / 5])
    assert '| cat   |       1 |      3 |     0.333 |' in capsys.readouterr().out
    tool.main(args)
    odds = np.sqrt([1 / 2, 2 / 3])
    np.testing.assert_allclose(Decisions.load(out).thresholds, odds / (1 + odds))


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ([], 'give either a score dump, or --priors'),
        (['x.csv', '--priors', 'y.csv'], 'give either a score dump, or --priors'),
        (['x.csv', '--split', 'train'], '--split is about the labels of --priors'),
        (['--priors', 'gone.csv'], "no annotation file 'gone.csv'"),
    ],
)
def test_bad_priors(capsys, args, message):
    with pytest.raises(SystemExit) as exit_:
        tool.main([*args, '--out', 'x.json'])
    assert exit_.value.code == 2
    assert message in ' '.join(capsys.readouterr().err.split())
