# SPDX-License-Identifier: Apache-2.0
"""From the scores of an image to its labels, as JSON can hold them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from mmpretrain.structures import DataSample

from .decision_rule import DecisionRule


class Answer(NamedTuple):
    """The indices of the labels found, by falling score, and the result for JSON."""

    found: np.ndarray
    result: dict[str, Any]


def answer(
    sample: DataSample,
    classes: Sequence[str],
    rule: DecisionRule,
    return_scores: bool = False,
) -> Answer:
    """Decide which labels an image has.

    Args:
        sample (DataSample): ``pred_score`` ``(L,)``, which is replaced by calibrated
            scores if the decisions have temperatures, and perhaps ``attention``
            ``(L, h, w)``.
        classes (Sequence[str]): L names.
        rule (DecisionRule): How to decide.
        return_scores (bool): Whether the result has all scores. Defaults to False.

    Returns:
        Answer: Indices, and ``labels`` and ``scores`` as in
        :meth:`MultiLabelInferencer.stream`.

    Raises:
        ValueError: If a score is not from 0 to 1.
    """
    scores = sample.pred_score
    mask = rule.decisions.predict(scores).numpy()
    if rule.decisions.temperatures is not None:
        scores = rule.decisions.calibrate(scores)
        sample.set_pred_score(scores)
    scores = scores.numpy()
    order = np.argsort(-scores, kind='stable')
    found = order[mask[order]][: rule.topk]
    labels = []
    for index in found:
        label: dict[str, Any] = dict(
            label=classes[index],
            score=round_score(scores[index]),
            threshold=float(rule.decisions.thresholds[index]),
        )
        if 'attention' in sample:
            label['attention'] = round_map(sample.attention[index].numpy())
        labels.append(label)
    result: dict[str, Any] = dict(labels=labels)
    if return_scores:
        result['scores'] = dict(zip(classes, map(round_score, scores)))
    return Answer(found, result)


def round_score(value: float | np.floating) -> float:
    """Round to nine digits, which tell all float32 numbers apart."""
    return float(f'{value:.9g}')


def round_map(values: np.ndarray) -> list:
    """Write an array as lists of numbers with six digits.

    Examples:
        >>> round_map(np.array([[0.12345678, 1.0]]))
        [[0.123457, 1.0]]
    """
    if values.ndim > 1:
        return [round_map(row) for row in values]
    return [float(f'{value:.6g}') for value in values]
