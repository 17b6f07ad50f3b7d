# SPDX-License-Identifier: Apache-2.0
"""Images of a config's dataset, as the test pipeline shows them."""

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Subset

from ..engine import build_split


def even_indices(total: int, number: int) -> list[int]:
    """Choose at most ``number`` of ``total`` items, at even distances.

    Examples:
        >>> even_indices(7, 3)
        [0, 2, 4]
    """
    number = min(number, total)
    return np.linspace(0, total, number, endpoint=False).astype(int).tolist()


def build_loader(cfg: Config, split: str, num_images: int) -> tuple[DataLoader, dict]:
    """Build a loader of a split's images, as the test pipeline shows them.

    Args:
        cfg (Config): A config without steps, or of one step.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        num_images (int): The greatest number of images, taken at even distances.

    Returns:
        tuple[DataLoader, dict]: The loader, and the dataset's meta information.
    """
    dataset = build_split(cfg, split)
    test = cfg.test_dataloader
    loader = dict(
        dataset=Subset(dataset, even_indices(len(dataset), num_images)),
        batch_size=test.get('batch_size', 1),
        num_workers=test.get('num_workers', 0),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=test.get('collate_fn', dict(type='default_collate')),
    )
    return Runner.build_dataloader(loader), dataset.metainfo
