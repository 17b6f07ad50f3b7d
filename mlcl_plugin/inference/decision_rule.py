# SPDX-License-Identifier: Apache-2.0
"""Which labels an image gets: thresholds and a greatest number of labels."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from mmpretrain.models.heads import MultiLabelClsHead

from ..evaluation.decisions import Decisions
from ..runtime import ModelInfo

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
    info: ModelInfo | None = None,
) -> DecisionRule:
    """Find the rule of a model.

    ``decisions`` or ``thr`` replace the rule of a safetensors file, and this one that
    of the head. Without all, the head's ``thr`` is used; a head without ``thr``
    predicts the ``topk`` labels with the highest scores, whatever these are. Of a rule
    that has a ``topk`` and the argument, the smaller one is used.

    Args:
        classes (Sequence[str]): Names of the L labels.
        head (MultiLabelClsHead): The model's head.
        thr (float | Sequence[float] | Mapping[str, float], optional): A threshold for
            all labels, L thresholds, or one per name. Defaults to None.
        decisions (Decisions | str | PathLike, optional): Decisions, or the path of
            their file. Defaults to None.
        topk (int, optional): The greatest number of labels. Defaults to None.
        info (ModelInfo, optional): The description of the model in a safetensors file.
            Defaults to None.

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
    if info is not None:
        temperatures = info.temperatures
        stored = Decisions(
            classes,
            np.asarray(info.thresholds),
            None if temperatures is None else np.asarray(temperatures),
        )
        return DecisionRule(stored, _smaller(topk, info.topk))
    if head.thr is not None:
        return DecisionRule(_to_decisions(classes, head.thr), topk)
    return DecisionRule(Decisions.uniform(classes, 0.0), _smaller(topk, head.topk))


def _smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two greatest numbers of labels; None is no limit."""
    given = [value for value in (one, other) if value is not None]
    return min(given, default=None)


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
