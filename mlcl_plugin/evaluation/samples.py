# SPDX-License-Identifier: Apache-2.0
"""Read scores and targets from data samples, and check them."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..targets import (
    indices_to_targets,
    read_label_indices,
    read_label_lists,
    read_target_matrix,
    read_target_vector,
)
from .functional.inputs import as_numbers, as_scores, check_nan


class Sample(Protocol):
    """A dict or MMEngine's ``DataSample``."""

    def get(self, key: str, default: Any = None, /) -> Any:
        """Return the value of a field, or the default without this field."""


def read_samples(
    data_samples: Sequence[Sample],
    num_classes: int | None = None,
    earlier: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Read scores and targets of a batch.

    Args:
        data_samples (Sequence[Sample]): At least one output of a model, each with
            ``pred_score`` (K,) and either ``gt_score`` (K,) of 1, 0 and -1 or
            ``gt_label``, the indices of the present labels (possibly none).
            ``gt_score`` has priority if both are there.
        num_classes (int, optional): Number of classes of the dataset. Defaults to
            None, which is unknown.
        earlier (int, optional): Width of the scores of earlier samples. Defaults to
            None, no such samples.

    Returns:
        tuple[Tensor, Tensor]: Scores (B, K) float32 and targets (B, K) int8, copies on
        the CPU.

    Raises:
        ValueError: If a field is missing, a score is nan, the width of the scores
            differs from the targets, from ``num_classes`` or from earlier samples, a
            target is not 1, 0 or -1, or ``gt_label`` is not a list of different
            indices in [0, K). The message names the image if the sample has an
            ``img_path``.
    """
    batch = _read_batch(data_samples, num_classes, earlier)
    if batch is not None:
        return batch
    rows = []
    for index, sample in enumerate(data_samples):
        scores, targets = _read_sample(
            sample, _where(sample, index), num_classes, earlier
        )
        earlier = len(scores)
        rows.append((scores.float(), targets))
    all_scores, all_targets = zip(*rows)
    return torch.stack(all_scores), torch.stack(all_targets)


def _read_batch(
    data_samples: Sequence[Sample], num_classes: int | None, earlier: int | None
) -> tuple[Tensor, Tensor] | None:
    """Read a usual batch of tensors at once, which is much faster.

    Returns:
        tuple[Tensor, Tensor] | None: None where something is unusual: then
        :func:`_read_sample` reads it or says what is wrong.
    """
    given = [sample.get('gt_score') for sample in data_samples]
    from_labels = all(value is None for value in given)
    if from_labels:
        given = [sample.get('gt_label') for sample in data_samples]
    try:
        scores = torch.stack([sample.get('pred_score') for sample in data_samples])
        raw = None if from_labels else torch.stack(given)
    except (TypeError, RuntimeError):
        # A field is missing, is no tensor, or has another shape or device.
        return None
    if scores.ndim != 2 or not scores.is_floating_point() or not scores.numel():
        return None
    # Stacking has copied already.
    scores = scores.detach().cpu().float()
    if scores.isnan().any():
        return None
    width = scores.shape[1]
    if not (num_classes in (None, width) and earlier in (None, width)):
        _check_width(width, num_classes, earlier, _where(data_samples[0], 0))

    if raw is None:
        targets = read_label_lists(given, width)
    elif raw.shape == scores.shape:
        targets = read_target_matrix(raw.detach().cpu())
    else:
        return None
    return None if targets is None else (scores, targets)


def _read_sample(
    sample: Sample, where: str, num_classes: int | None, earlier: int | None
) -> tuple[Tensor, Tensor]:
    """Read checked scores (K,) and int8 targets (K,) of one sample."""
    if sample.get('pred_score') is None:
        raise ValueError(
            f'There is no pred_score{where}. The head must set it in `predict`.'
        )
    scores = as_scores(sample.get('pred_score'))
    if scores.ndim != 1 or len(scores) == 0:
        raise ValueError(
            f'pred_score must have shape (K,), got {tuple(scores.shape)}{where}.'
        )
    check_nan(scores, where)
    width = len(scores)
    _check_width(width, num_classes, earlier, where)

    if sample.get('gt_score') is not None:
        vector = as_numbers(sample.get('gt_score'), 'gt_score')
        targets = read_target_vector(vector, width, where=where)
    elif sample.get('gt_label') is not None:
        present = read_label_indices(sample.get('gt_label'), width, where=where)
        targets = indices_to_targets(present.cpu(), width)
    else:
        raise ValueError(
            f'There is neither gt_score nor gt_label{where}. Let the pipeline pack one '
            'of them.'
        )
    return scores, targets.to(torch.int8)


def _check_width(
    width: int, num_classes: int | None, earlier: int | None, where: str
) -> None:
    """Raise if the width is not that of the dataset and of earlier samples."""
    if num_classes is not None and num_classes != width:
        raise ValueError(
            f'The dataset has {num_classes} classes but pred_score has {width} '
            f'entries{where}. Set num_classes of the head to {num_classes}.'
        )
    if earlier is not None and earlier != width:
        raise ValueError(
            f'pred_score has {width} entries{where}, but {earlier} in the samples '
            'before it.'
        )


def _where(sample: Sample, index: int) -> str:
    """Say which sample an error is about."""
    path = sample.get('img_path')
    return (
        f' in sample {index} of the batch'
        if path is None
        else (f' in the sample of {path}')
    )
