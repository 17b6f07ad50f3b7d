# SPDX-License-Identifier: Apache-2.0
"""How well each label is recognised."""

import math

import numpy as np

from .decisions import Decisions
from .metrics.multi_label_recognition import average_precision
from .score_dump import ScoreDump


def predict_labels(dump: ScoreDump, rule: float | Decisions) -> np.ndarray:
    """Which labels are predicted.

    Args:
        dump (ScoreDump): Scores.
        rule (float | Decisions): One threshold for all scores, or decisions.

    Returns:
        np.ndarray: ``(N, L)`` bool.

    Raises:
        ValueError: If the decisions are for other labels, or need scores from 0 to 1
            and get others.
    """
    if isinstance(rule, Decisions):
        rule.check(dump.classes)
        return rule.predict(dump.scores)
    return dump.scores >= np.float32(rule)


def label_report(dump: ScoreDump, rule: float | Decisions = 0.5) -> list[dict]:
    """The figures of each label.

    Args:
        dump (ScoreDump): Scores and targets.
        rule (float | Decisions): One threshold for all scores, or decisions. Defaults
            to 0.5.

    Returns:
        list[dict]: One a label, in the order of ``dump.classes``: ``label``, ``AP``,
        ``precision``, ``recall``, ``F1`` (from 0 to 1), ``support`` (images with it),
        ``predicted``, ``correct``, ``unknown`` (images), ``threshold`` and
        ``temperature``. AP, recall and F1 are nan without a positive, precision is nan
        without a prediction, temperature is nan without decisions that have one.

    Raises:
        ValueError: As in :func:`predict_labels`.
    """
    predicted = predict_labels(dump, rule)
    known, truth = dump.targets != -1, dump.targets == 1
    num_labels = len(dump.classes)
    thresholds = np.broadcast_to(
        rule.thresholds if isinstance(rule, Decisions) else float(rule), num_labels
    )
    temperatures = rule.temperatures if isinstance(rule, Decisions) else None
    if temperatures is None:
        temperatures = np.full(num_labels, math.nan)
    columns = zip(
        dump.classes,
        average_precision(dump.scores, dump.targets).tolist(),
        truth.sum(axis=0).tolist(),
        (predicted & known).sum(axis=0).tolist(),
        (predicted & truth).sum(axis=0).tolist(),
        (~known).sum(axis=0).tolist(),
        thresholds.tolist(),
        temperatures.tolist(),
    )
    return [
        dict(
            label=label,
            AP=ap,
            precision=correct / num_predicted if num_predicted else math.nan,
            recall=correct / support if support else math.nan,
            F1=2 * correct / (num_predicted + support) if support else math.nan,
            support=support,
            predicted=num_predicted,
            correct=correct,
            unknown=unknown,
            threshold=threshold,
            temperature=temperature,
        )
        for (
            label,
            ap,
            support,
            num_predicted,
            correct,
            unknown,
            threshold,
            temperature,
        ) in columns
    ]
