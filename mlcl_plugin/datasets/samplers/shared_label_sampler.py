# SPDX-License-Identifier: Apache-2.0
"""Batches made of groups of images that share a label."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ...targets import is_present


@DATA_SAMPLERS.register_module()
class SharedLabelSampler(Sampler):
    """Draw groups of images that have a label in common.

    A contrastive loss has positives in other images only where two images of a batch
    share a label. For rare labels, a random batch seldom has such images. Here an epoch
    takes images in random order; for each, one of its labels is drawn uniformly, and
    ``group_size - 1`` other images with this label follow. A batch whose size is a
    multiple of ``group_size`` consists of whole groups.

    An epoch has as many images as with MMEngine's ``DefaultSampler``, but not each
    image once: of N images, N / ``group_size`` are taken in order, and the others share
    a label with them. So images with many labels are seen more often, and images with
    one or no label less often. The others of a group are drawn without replacement. If
    too few images have the label, or the image has no known present label, the rest of
    the group is drawn from all images. An image that the dataset lists twice, as
    ``RepeatDataset`` does, counts as two.

    The idea comes from metric learning, which samples P classes by K images for single
    labels; drawing one of an image's labels is this project's.

    In a run of several processes each takes whole groups. The draws depend only on seed
    and epoch.

    Args:
        dataset (BaseDataset): The training dataset, or MMEngine's or MMPretrain's
            wrapper of it: anything with ``get_data_info`` that gives ``gt_score`` or
            ``gt_label``, see :mod:`mlcl_plugin.targets`.
        group_size (int): Number of images in a group, at least 2. Defaults to 2.
        seed (int, optional): The same in all processes. Defaults to None: a random one
            on which the processes agree.

    Raises:
        ValueError: If ``group_size`` is below 2 or above the number of images, or an
            image has no labels at all.

    Examples:
        >>> train_dataloader = dict(
        ...     batch_size=24,
        ...     sampler=dict(type='SharedLabelSampler', group_size=4))
    """

    def __init__(
        self, dataset: BaseDataset, group_size: int = 2, seed: int | None = None
    ) -> None:
        number = len(dataset)
        if isinstance(group_size, bool) or not isinstance(group_size, int):
            raise ValueError(f'group_size must be an int, got {group_size!r}.')
        if not 2 <= group_size <= number:
            raise ValueError(
                f'group_size must be from 2 to the number of images, {number}, got '
                f'{group_size}.'
            )
        self.rank, self.world_size = get_dist_info()
        self.group_size = group_size
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.num_samples = math.ceil(number / self.world_size)
        self._labels = [_present(dataset, index) for index in range(number)]
        carriers: dict[int, list[int]] = {}
        for index, labels in enumerate(self._labels):
            for label in labels:
                carriers.setdefault(label, []).append(index)
        self._carriers = {label: np.array(rows) for label, rows in carriers.items()}

    def __iter__(self) -> Iterator[int]:
        """The indices of an epoch, group by group."""
        generator = torch.Generator()
        generator.manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self._labels), generator=generator).tolist()
        groups = math.ceil(self.num_samples / self.group_size)
        # One seed per group of all processes.
        seeds = torch.randint(2**31, (groups * self.world_size,), generator=generator)
        indices = []
        for number in range(self.rank, groups * self.world_size, self.world_size):
            first = order[number % len(order)]
            indices += self._group(first, np.random.default_rng(int(seeds[number])))
        return iter(indices[: self.num_samples])

    def _group(self, first: int, draws: np.random.Generator) -> list[int]:
        """The group of an image: itself and those that are drawn."""
        group, labels = [first], self._labels[first]
        if labels:
            carriers = self._carriers[labels[draws.integers(len(labels))]]
            number = min(len(carriers), self.group_size)
            self._fill(group, draws.choice(carriers, number, replace=False))
        if len(group) < self.group_size:
            everyone = len(self._labels)
            self._fill(group, draws.choice(everyone, self.group_size, replace=False))
        return group

    def _fill(self, group: list[int], drawn: np.ndarray) -> None:
        """Add drawn images that are not in the group yet, until it is full."""
        new = [index for index in drawn.tolist() if index not in group]
        group += new[: self.group_size - len(group)]

    def __len__(self) -> int:
        """The number of images that this process takes in an epoch."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which changes the draws.

        Args:
            epoch (int): The number of the next epoch.
        """
        self.epoch = epoch


def _present(dataset: BaseDataset, index: int) -> list[int]:
    """The labels that are known to be present in an image."""
    info = dataset.get_data_info(index)
    if info.get('gt_score') is not None:
        return np.flatnonzero(is_present(np.asarray(info['gt_score']))).tolist()
    if info.get('gt_label') is None:
        raise ValueError(
            f"Image {index} has neither 'gt_score' nor 'gt_label', got the keys "
            f'{sorted(info)}. SharedLabelSampler needs the labels of all images.'
        )
    return np.unique(np.asarray(info['gt_label'], dtype=np.int64)).tolist()
