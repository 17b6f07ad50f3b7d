# SPDX-License-Identifier: Apache-2.0
"""Which labels an image gets: thresholds and a greatest number of labels."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from mmpretrain.models.heads import MultiLabelClsHead

from ..evaluation.decisions import Decisions

Thresholds = float | Sequence[float] | Mapping[str, float]


class DecisionRule(NamedTuple):
    """Decide by thresholds, and keep the ``topk`` labels with the highest scores.

    None keeps all.
    """

    decisions: Decisions
    topk: int | None


def check_rule_options(
    thr: Thresholds | None,
    decisions: Decisions | str | PathLike | None,
    topk: int | None,
    name: str = 'topk',
) -> None:
    """Raise a ValueError for options that are wrong for every model.

    ``name`` is what the caller's argument for ``topk`` is called.
    """
    if thr is not None and decisions is not None:
        raise ValueError('Give either thr or decisions, got both.')
    if topk is not None and topk < 1:
        raise ValueError(f'{name} must be positive, got {topk}.')


def find_rule(
    classes: Sequence[str],
    head: MultiLabelClsHead,
    thr: Thresholds | None = None,
    decisions: Decisions | str | PathLike | None = None,
    topk: int | None = None,
) -> DecisionRule:
    """Find the rule of a model.

    ``decisions`` or ``thr`` replace the rule of the head. Without both, the head's
    ``thr`` is used; a head without ``thr`` predicts the ``topk`` labels with the
    highest scores, whatever these are. Then the smaller one of both ``topk`` is used.

    Args:
        classes (Sequence[str]): Names of the L labels.
        head (MultiLabelClsHead): The model's head.
        thr (float | Sequence[float] | Mapping[str, float], optional): A threshold for
            all labels, L thresholds, or one per name. Defaults to None.
        decisions (Decisions | str | PathLike, optional): Decisions, or the path of
            their file. Defaults to None.
        topk (int, optional): The greatest number of labels. Defaults to None.

    Returns:
        DecisionRule: The rule.

    Raises:
        FileNotFoundError: If there is no such decision file.
        ValueError: If both or a wrong value are given, or if the decisions or the
            thresholds are for other labels.
    """
    check_rule_options(thr, decisions, topk)
    if decisions is not None:
        if not isinstance(decisions, Decisions):
            decisions = Decisions.load(decisions)
        decisions.check(classes)
        return DecisionRule(decisions, topk)
    if thr is not None:
        return DecisionRule(_to_decisions(classes, thr), topk)
    if head.thr is not None:
        return DecisionRule(_to_decisions(classes, head.thr), topk)
    topk = head.topk if topk is None else min(topk, head.topk)
    return DecisionRule(Decisions.uniform(classes, 0.0), topk)


def _to_decisions(classes: Sequence[str], thr: Thresholds) -> Decisions:
    """Decisions by thresholds from 0 to 1."""
    values: object = thr
    if isinstance(thr, Mapping):
        if set(thr) != set(classes):
            missing = [name for name in classes if name not in thr]
            known = set(classes)
            unknown = [name for name in thr if name not in known]
            raise ValueError(
                'thr must have one threshold for each label: missing are '
                f'{missing[:5]}, unknown are {unknown[:5]} (the first five of '
                'each).'
            )
        values = [thr[name] for name in classes]
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'thr must be a number, or one for each label, got {thr!r:.200}.'
        ) from error
    # Written so that nan fails too.
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f'thr must lie from 0 to 1, got {thr!r:.200}.')
    if array.ndim == 0:
        return Decisions.uniform(classes, float(array))
    return Decisions(classes, array.tolist())
