# SPDX-License-Identifier: Apache-2.0
"""Read the targets of data samples. All heads and hooks use this reader."""

from collections.abc import Sequence

import torch
from mmpretrain.structures import DataSample

from ...targets import (
    check_target_shape,
    check_targets,
    indices_to_targets,
    read_label_indices,
)


def _where(sample: DataSample) -> str:
    """Name the image of a data sample, as far as it is known."""
    path = sample.get('img_path')
    return f' (image {path})' if path else ''


def collect_targets(
    data_samples: Sequence[DataSample],
    num_classes: int,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Gather and check the targets of a batch.

    Reads ``gt_score`` or ``gt_label`` of each sample, see :mod:`mlcl_plugin.targets`.
    Soft targets are accepted, since Mixup and CutMix make them.

    Args:
        data_samples (Sequence[DataSample]): The B annotated samples.
        num_classes (int): The number of labels L.
        device (torch.device | str, optional): Where to put the targets.

    Returns:
        Tensor: ``(B, L)`` float32.

    Raises:
        ValueError: If a sample has no target, a label is out of range or named twice,
            or ``gt_score`` has another length or other values.
    """
    rows = []
    for sample in data_samples:
        where = _where(sample)
        if 'gt_score' in sample:
            # Values are checked below: a check per sample costs a GPU sync each.
            check_target_shape(sample.gt_score, num_classes, where=where)
            rows.append(sample.gt_score.to(device=device, dtype=torch.float32))
        elif 'gt_label' in sample:
            present = read_label_indices(sample.gt_label, num_classes, where=where)
            rows.append(indices_to_targets(present.to(device), num_classes))
        else:
            raise ValueError(
                f'A data sample has neither gt_score nor gt_label{where}. Does the '
                'pipeline end with PackInputs, and does the dataset give labels?'
            )
    if not rows:
        raise ValueError('Got an empty batch, expected at least one data sample.')
    targets = torch.stack(rows)
    check_targets(
        targets,
        soft=True,
        name='Values of gt_score',
        where=lambda place: f' for label {place[1]}{_where(data_samples[place[0]])}',
    )
    return targets


def collect_image_numbers(
    data_samples: Sequence[DataSample], device: torch.device | str | None = None
) -> torch.Tensor | None:
    """Gather which image each sample of a batch shows.

    Args:
        data_samples (Sequence[DataSample]): The B samples.
            :class:`MultiViewDataPreprocessor` gives the views of an image the same
            ``image_number``.
        device (torch.device | str, optional): Where to put the numbers.

    Returns:
        Tensor, optional: ``(B,)`` int64; None if each sample shows another image.
    """
    numbers = [sample.get('image_number') for sample in data_samples]
    return None if None in numbers else torch.tensor(numbers, device=device)
