# SPDX-License-Identifier: Apache-2.0
"""Defaults of the dataloaders that the tools build."""

import torch
from mmengine.config import Config, ConfigDict


def set_default_dataloader_cfg(
    cfg: Config, pin_memory: bool = True, persistent_workers: bool = True
) -> None:
    """Fill in what a config leaves open, as MMPretrain's tools do.

    Memory is pinned only where there is a GPU to copy to, and workers are
    persistent only where there are workers; torch warns or fails otherwise.

    Args:
        cfg (Config): The config, changed in place.
        pin_memory (bool): False never pins memory. Defaults to True.
        persistent_workers (bool): False always starts workers anew. Defaults to
            True.
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
