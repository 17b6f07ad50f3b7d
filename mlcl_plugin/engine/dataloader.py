# SPDX-License-Identifier: Apache-2.0
"""Defaults of the dataloaders of a config."""

import torch
from mmengine.config import Config, ConfigDict


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
