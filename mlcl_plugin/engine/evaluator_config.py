# SPDX-License-Identifier: Apache-2.0
"""Changes of the metrics in the evaluator of a config."""

from typing import Any

from mmengine.config import Config
from mmpretrain.registry import METRICS

from ..evaluation.decisions import Decisions
from ..evaluation.metrics.multi_label_recognition import MultiLabelRecognitionMetric


def add_metric(cfg: Config, metric: dict) -> None:
    """Add a metric to ``test_evaluator``.

    Args:
        cfg (Config): The config; it is changed.
        metric (dict): The config of the metric.
    """
    metrics = [*_metrics(cfg), metric]
    evaluator = cfg.get('test_evaluator')
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator['metrics'] = metrics
    else:
        cfg.test_evaluator = metrics


def use_decisions(cfg: Config, path: str) -> None:
    """Let the metrics of ``test_evaluator`` predict labels by a decision file.

    Args:
        cfg (Config): The config; the field ``decisions`` of each
            :class:`MultiLabelRecognitionMetric` is set.
        path (str): The decision file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no decision file, or there is no such metric.
    """
    # Now rather than after the model was built.
    Decisions.load(path)
    metrics = _metrics(cfg)
    able = [metric for metric in metrics if _is_recognition_metric(metric)]
    if not able:
        names = [metric.get('type') for metric in metrics]
        raise ValueError(
            f'decisions={path} needs a MultiLabelRecognitionMetric in test_evaluator, '
            f'got {names}.'
        )
    for metric in able:
        metric['decisions'] = path


def _metrics(cfg: Config) -> list[dict]:
    """List the configs of the metrics in ``test_evaluator``."""
    evaluator = cfg.get('test_evaluator') or []
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    return [evaluator] if isinstance(evaluator, dict) else list(evaluator)


def _is_recognition_metric(metric: dict) -> bool:
    """Tell whether a config builds the metric; its type is a name or a class."""
    kind: Any = metric.get('type')
    if isinstance(kind, str):
        kind = METRICS.get(kind)
    return isinstance(kind, type) and issubclass(kind, MultiLabelRecognitionMetric)
