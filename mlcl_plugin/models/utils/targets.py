# SPDX-License-Identifier: Apache-2.0
"""From data samples to the target matrix, with checks."""

from collections.abc import Sequence

import torch
from mmpretrain.structures import DataSample


def _where(sample: DataSample) -> str:
    """Name the image of a data sample, as far as it is known."""
    path = sample.get('img_path')
    return f' (image {path})' if path else ''


def _check_indices(sample: DataSample, num_classes: int) -> torch.Tensor:
    label = sample.gt_label
    if label.numel() == 0:
        return label.long()
    if label.is_floating_point():
        raise ValueError(
            f'gt_label is {label.tolist()}{_where(sample)}, expected integers, the '
            'indices of the labels that are present; put scores into gt_score.'
        )
    low, high = label.aminmax()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f'gt_label holds label {int(low if low < 0 else high)}{_where(sample)}, '
            f'expected indices from 0 to {num_classes - 1} (num_classes='
            f'{num_classes}). Check num_classes of neck and head against the '
            "dataset's classes."
        )
    if label.numel() > 2 and high <= 1:
        raise ValueError(
            f'gt_label is {label.tolist()}{_where(sample)}, which looks like a '
            'one-hot vector. gt_label takes the indices of the labels that are '
            'present; put a vector of 1 / 0 / -1 into gt_score instead.'
        )
    return label.long()


def collect_targets(
    data_samples: Sequence[DataSample],
    num_classes: int,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Gather the targets of a batch, checked.

    A sample's ``gt_score`` (a vector of 1 present, 0 absent, -1 unknown) wins
    over its ``gt_label`` (the indices of the labels present, all others being
    absent). Values between 0 and 1, as Mixup and CutMix make them, are let
    through; they count as known and, below 1, as not present.

    Args:
        data_samples (Sequence[DataSample]): The B annotated samples.
        num_classes (int): The number of labels L.
        device (torch.device | str, optional): Where to put the targets.

    Returns:
        Tensor: ``(B, L)`` float32.

    Raises:
        ValueError: If a sample has no target, a label is out of range, a
            one-hot vector was put into ``gt_label``, or ``gt_score`` has
            another length or other values.
    """
    rows = []
    for sample in data_samples:
        if 'gt_score' in sample:
            row = sample.gt_score
            if row.shape != (num_classes,):
                raise ValueError(
                    f'gt_score has the shape {tuple(row.shape)}{_where(sample)}, '
                    f'expected num_classes={num_classes} entries. Set num_classes of '
                    "neck, head and pipeline to the number of the dataset's classes."
                )
            rows.append(row.to(device=device, dtype=torch.float32))
        elif 'gt_label' in sample:
            label = _check_indices(sample, num_classes).to(device)
            row = torch.zeros(num_classes, device=device)
            rows.append(row.index_fill_(0, label, 1))
        else:
            raise ValueError(
                f'A data sample has neither gt_score nor gt_label{_where(sample)}. '
                'Does the pipeline end with PackInputs, and does the dataset give '
                'labels?'
            )
    if not rows:
        raise ValueError('Got an empty batch, expected at least one data sample.')
    targets = torch.stack(rows)
    # One check for the batch: a check a sample would cost a GPU sync each.
    valid = ((targets >= 0) & (targets <= 1)) | (targets == -1)
    if not valid.all():
        row, column = (~valid).nonzero()[0].tolist()
        raise ValueError(
            f'gt_score holds {targets[row, column].item()} for label {column}'
            f'{_where(data_samples[row])}, expected 1 (present), 0 (absent) or -1 '
            '(unknown).'
        )
    return targets
