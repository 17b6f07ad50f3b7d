# SPDX-License-Identifier: Apache-2.0
"""All metrics of multi-label recognition from scores, targets and decisions."""

import logging
import math
from collections.abc import Iterator, Sequence
from numbers import Integral

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor

from ..class_blocks import map_class_blocks
from ..decisions import Decisions
from .label_rates import LabelCounts, label_masks, mean_rates
from .ranked_precision import block_average_precision

# Entries that labels are counted in at a time: what a processor's cache holds.
CHUNK_ENTRIES = 2**18


def check_topk(topk: int | None) -> None:
    """Raise a ValueError if ``topk`` is neither None nor a positive integer."""
    if topk is not None and (
        isinstance(topk, bool) or not isinstance(topk, Integral) or topk < 1
    ):
        raise ValueError(
            f'topk must be an integer >= 1, or None to switch it off, got {topk!r}.'
        )


def check_class_names(class_names: Sequence[str], num_classes: int) -> None:
    """Raise a ValueError unless there are as many different names as classes."""
    if len(class_names) != num_classes or len(set(class_names)) != num_classes:
        raise ValueError(
            f'The AP of each class needs {num_classes} different class names, got '
            f'{len(class_names)} names, {len(set(class_names))} of them different.'
        )


def recognition_metrics(
    scores: Sequence[Tensor],
    targets: Sequence[Tensor],
    num_rows: Sequence[int],
    decisions: Decisions,
    topk: int | None = 3,
    absent_classes: str = 'skip',
    class_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Compute all metrics from checked scores and targets of each process.

    Args:
        scores (Sequence[Tensor]): Pieces ``(n, K)`` that lie on this process, at least
            one, which may have no rows; float32 or float64, on the CPU.
        targets (Sequence[Tensor]): Pieces ``(n, K)`` int8, 1 present, 0 absent, -1
            unknown.
        num_rows (Sequence[int]): Number of rows of each process, by rank. More
            than one number means that all processes call this function.
        decisions (Decisions): Which labels are predicted.
        topk (int, optional): Largest number of labels per image in the top-k metrics,
            None to leave them out. Defaults to 3.
        absent_classes (str): ``'skip'`` or ``'zero'``. Defaults to ``'skip'``.
        class_names (Sequence[str], optional): K different names, to add
            ``AP/<class name>`` of each evaluated class. Defaults to None.

    Returns:
        dict[str, float]: See :class:`MultiLabelRecognitionMetric`.

    Raises:
        ValueError: If ``class_names`` are not K different names, or a score is not from
            0 to 1 where ``decisions`` need that.
    """
    num_classes = scores[0].shape[1]
    if class_names is not None:
        check_class_names(class_names, num_classes)
    chunk_rows = max(CHUNK_ENTRIES // num_classes, 1)
    counts = torch.zeros(3 if topk is None else 5, num_classes, dtype=torch.int64)
    for chunk in zip(_chunks(scores, chunk_rows), _chunks(targets, chunk_rows)):
        counts += count_predictions(*chunk, decisions, topk)
    if len(num_rows) > 1:
        all_reduce(counts)
    ap = map_class_blocks(block_average_precision, (scores, targets), num_rows) * 100

    present = ~ap.isnan()
    if not present.any():
        print_log(
            f'None of the {sum(num_rows)} samples has a positive target in any of '
            f'the {num_classes} classes: mAP is undefined (nan), recall is 0.',
            logger='current',
            level=logging.WARNING,
        )
        evaluated = present
    elif absent_classes == 'zero':
        ap = ap.nan_to_num(nan=0.0)
        evaluated = torch.ones_like(present)
    else:
        evaluated = present

    metrics: dict[str, float] = {
        'mAP': ap[evaluated].mean().item(),
        'num_classes_evaluated': int(evaluated.sum()),
    }
    num_true, *num_labels = counts
    prefixes = [''] if topk is None else ['', f'top{topk}_']
    for prefix, num_predicted, num_correct in zip(
        prefixes, num_labels[::2], num_labels[1::2]
    ):
        rates = mean_rates(
            LabelCounts(num_true, num_predicted, num_correct), absent_classes
        )
        for name, rate in rates.items():
            metrics[f'{prefix}{name}'] = rate.item() * 100

    if class_names is not None:
        for index in evaluated.nonzero().flatten().tolist():
            metrics[f'AP/{class_names[index]}'] = ap[index].item()
    return metrics


def count_predictions(
    scores: Tensor, targets: Tensor, decisions: Decisions, topk: int | None
) -> Tensor:
    """Count labels of each class over some rows (n, K).

    Returns:
        Tensor: (3, K) or, with ``topk``, (5, K) int64: true, predicted and correct
        labels, then predicted and correct labels of the top k.
    """
    predicted = decisions.predict(scores)
    counted = label_masks(predicted, targets)
    masks = list(counted)
    if topk is not None:
        # Rows with up to `topk` predicted labels keep all of them.
        crowded = (predicted.sum(1) > topk).nonzero()[:, 0]
        top = predicted.clone()
        ranked = scores[crowded]
        if decisions.temperatures is not None:
            ranked = decisions.calibrate(ranked)
        # Where labels have different thresholds, a label that is not predicted may have
        # a higher score than one that is.
        ranked = ranked.masked_fill(~predicted[crowded], -math.inf)
        top[crowded] &= topk_mask(ranked, topk)
        masks += [top & counted.predicted, top & counted.correct]
    return torch.stack([mask.sum(0) for mask in masks])


def topk_mask(scores: Tensor, topk: int) -> Tensor:
    """Mark the ``topk`` highest scores of each row, shape (n, K).

    Of equal scores the lower class index comes first.
    """
    num_classes = scores.shape[1]
    if topk >= num_classes:
        return torch.ones_like(scores, dtype=torch.bool)
    place = num_classes - topk
    lowest = np.partition(scores.numpy(), place, axis=1)[:, place : place + 1]
    mask = scores >= torch.from_numpy(lowest)
    tied = (mask.sum(1) > topk).nonzero()[:, 0]
    if len(tied) > 0:
        # A stable sort keeps the order of equal scores.
        order = scores[tied].sort(dim=1, descending=True, stable=True).indices
        mask[tied] = torch.zeros_like(mask[tied]).scatter_(1, order[:, :topk], True)
    return mask


def _chunks(pieces: Sequence[Tensor], num_rows: int) -> Iterator[Tensor]:
    """Regroup the rows into pieces of about ``num_rows``, each a temporary copy."""
    waiting: list[Tensor] = []
    num_waiting = 0
    for piece in pieces:
        # Most pieces are small. len() of a tensor and split() take longer.
        parts = [piece] if piece.shape[0] <= num_rows else piece.split(num_rows)
        for part in parts:
            rows = part.shape[0]
            if num_waiting + rows > num_rows:
                yield torch.cat(waiting)
                waiting, num_waiting = [], 0
            waiting.append(part)
            num_waiting += rows
    yield torch.cat(waiting)
