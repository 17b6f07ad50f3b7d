# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.config import Config

from mlcl_plugin.engine.evaluator_config import add_metric, use_decisions
from mlcl_plugin.evaluation import Decisions, MultiLabelRecognitionMetric

NAME = 'MultiLabelRecognitionMetric'
DUMP = dict(type='DumpScores', out_file_path='scores.csv')


@pytest.fixture
def path(tmp_path):
    file = str(tmp_path / 'decisions.json')
    Decisions(['cat'], [0.3]).save(file)
    return file


@pytest.mark.parametrize(
    'evaluator',
    [
        dict(type=NAME, thr=0.4),
        [dict(type='AveragePrecision'), dict(type=NAME)],
        dict(type='Evaluator', metrics=[dict(type=NAME)]),
        dict(metrics=dict(type=MultiLabelRecognitionMetric)),
    ],
    ids=['one', 'list', 'evaluator', 'class'],
)
def test_decisions_and_dump(evaluator, path):
    cfg = Config(dict(test_evaluator=evaluator))
    use_decisions(cfg, path)
    add_metric(cfg, DUMP)
    metrics = cfg.test_evaluator
    if isinstance(metrics, dict):
        metrics = metrics['metrics']
    assert metrics[-1] == DUMP
    for metric in metrics[:-1]:
        able = metric['type'] in (NAME, MultiLabelRecognitionMetric)
        assert metric.get('decisions') == (path if able else None)
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        assert cfg.test_evaluator.get('type') == evaluator.get('type')


@pytest.mark.parametrize('evaluator', [None, [], dict(type='AveragePrecision')])
def test_no_metric_for_decisions(evaluator, path):
    cfg = Config(dict(test_evaluator=evaluator))
    with pytest.raises(ValueError, match='needs a MultiLabelRecognitionMetric in test'):
        use_decisions(cfg, path)
    add_metric(cfg, DUMP)
    assert cfg.test_evaluator[-1] == DUMP


def test_no_file(tmp_path):
    cfg = Config(dict(test_evaluator=dict(type=NAME)))
    with pytest.raises(FileNotFoundError, match='no decision file .*gone.json'):
        use_decisions(cfg, str(tmp_path / 'gone.json'))
