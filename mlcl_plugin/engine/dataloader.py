# SPDX-License-Identifier: Apache-2.0
"""Defaults of the dataloaders of a config, and loaders like one that exists."""

from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from torch.utils.data import DataLoader


def set_default_dataloader_cfg(
    cfg: Config, pin_memory: bool = True, persistent_workers: bool = True
) -> None:
    """Set defaults of the dataloaders, as MMPretrain's tools do.

    Memory is pinned only with a GPU, and workers are persistent only if there are
    workers. Otherwise torch warns or fails.

    Args:
        cfg (Config): The config, changed in place.
        pin_memory (bool): False never pins memory. Defaults to True.
        persistent_workers (bool): False starts new workers in every epoch. Defaults
            to True.
    """
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(field) is None:
            continue
        loader = ConfigDict(
            pin_memory=torch.cuda.is_available(),
            persistent_workers=cfg[field].get('num_workers', 0) > 0,
            collate_fn=dict(type='default_collate'),
        )
        loader.update(cfg[field])
        if not pin_memory:
            loader.pin_memory = False
        if not persistent_workers:
            loader.persistent_workers = False
        cfg[field] = loader


def with_order(loader: DataLoader, **order: Any) -> DataLoader:
    """Make a loader of the same dataset with the same options, but another order.

    Args:
        loader (DataLoader): The other loader. It keeps its workers.
        **order: ``batch_sampler``, or ``batch_size`` and ``sampler``, as in
            :class:`torch.utils.data.DataLoader`.

    Returns:
        DataLoader: A loader with workers of its own, which end with an epoch.
    """
    options: dict[str, Any] = {}
    if loader.num_workers > 0:
        options = dict(
            prefetch_factor=loader.prefetch_factor,
            multiprocessing_context=loader.multiprocessing_context,
        )
    return DataLoader(
        loader.dataset,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        **order,
        **options,
    )
