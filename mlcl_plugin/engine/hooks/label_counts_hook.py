# SPDX-License-Identifier: Apache-2.0
"""Tell losses how often labels are present in the training set."""

from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook

from ...datasets.transforms import LabelsToTargets
from ...models.losses import NeedsLabelCounts
from ...targets import is_absent, is_present
from ..unwrap import unwrap_model


class LabelCountsHook(Hook):
    """Count labels before a training, if a part of the model asks for it.

    :class:`CheckedRunner` registers it. Images are counted as often as the training
    data set lists them; sampling does not matter. Nothing is kept in checkpoints: a
    resumed training counts again.
    """

    def before_train(self, runner) -> None:
        """Count and tell, before the first iteration."""
        model = unwrap_model(runner.model)
        parts = [
            part
            for part in model.modules()
            if isinstance(part, NeedsLabelCounts) and part.needs_label_counts
        ]
        if not parts:
            return
        dataset = runner.train_dataloader.dataset
        head: Any = model.head
        present, absent = count_labels(dataset, head.num_classes)
        for part in parts:
            part.set_label_counts(present, absent)


def count_labels(
    dataset: BaseDataset, num_classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Count in how many images each label is present, and absent.

    Args:
        dataset (BaseDataset): Images with ``get_data_info``.
        num_classes (int): Number of labels L.

    Returns:
        tuple[Tensor, Tensor]: Two vectors ``(L,)`` int64. Unknown entries count for
        neither.

    Raises:
        ValueError: If an image has no labels, or wrong ones.
    """
    to_targets = LabelsToTargets(num_classes)
    present = torch.zeros(num_classes, dtype=torch.int64)
    absent = present.clone()
    for index in range(len(dataset)):
        info = dict(dataset.get_data_info(index))
        targets = torch.as_tensor(to_targets(info)['gt_score'])
        present += is_present(targets)
        absent += is_absent(targets)
    return present, absent
