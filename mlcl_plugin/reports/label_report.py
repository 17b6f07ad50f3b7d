# SPDX-License-Identifier: Apache-2.0
"""How well each label is recognised."""

import math

import numpy as np

from ..evaluation.decisions import Decisions
from ..evaluation.functional.label_rates import class_rates, count_labels
from ..evaluation.functional.ranked_precision import average_precision
from ..evaluation.score_dump import ScoreDump
from ..targets import is_known


def predict_labels(dump: ScoreDump, decisions: Decisions) -> np.ndarray:
    """Tell which labels of a dump are predicted.

    Args:
        dump (ScoreDump): Scores.
        decisions (Decisions): For the labels of the dump.

    Returns:
        np.ndarray: ``(N, L)`` bool.

    Raises:
        ValueError: If the decisions are for other labels, or need scores from 0 to 1
            and get others.
    """
    decisions.check(dump.classes)
    return decisions.predict(dump.scores)


def label_report(dump: ScoreDump, decisions: Decisions) -> list[dict]:
    """Compute the metrics of each label.

    Args:
        dump (ScoreDump): Scores and targets.
        decisions (Decisions): Which labels are predicted.

    Returns:
        list[dict]: One per label, in the order of ``dump.classes``: ``label``, ``AP``,
        ``precision``, ``recall``, ``F1`` (from 0 to 1), ``support`` (images with it),
        ``predicted``, ``correct``, ``unknown`` (images), ``threshold`` and
        ``temperature``. AP, recall and F1 are nan without a positive, precision is nan
        without a prediction, temperature is nan if the decisions have none.

    Raises:
        ValueError: As in :func:`predict_labels`.
    """
    counts = count_labels(predict_labels(dump, decisions), dump.targets)
    rates = class_rates(counts)
    temperatures = decisions.temperatures
    if temperatures is None:
        temperatures = np.full(len(dump.classes), math.nan)
    columns = dict(
        label=dump.classes,
        AP=average_precision(dump.scores, dump.targets).tolist(),
        **{name: values.tolist() for name, values in rates.items()},
        support=counts.true.tolist(),
        predicted=counts.predicted.tolist(),
        correct=counts.correct.tolist(),
        unknown=(~is_known(dump.targets)).sum(axis=0).tolist(),
        threshold=decisions.thresholds.tolist(),
        temperature=temperatures.tolist(),
    )
    return [dict(zip(columns, row)) for row in zip(*columns.values())]
