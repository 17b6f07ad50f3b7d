# SPDX-License-Identifier: Apache-2.0
"""Several processes on a machine without a GPU."""

import torch
from mmengine.config import Config
from torch import distributed


def setup_cpu_distributed(cfg: Config) -> None:
    """Prepare a run of several processes on a machine without a GPU.

    MMEngine's ``launcher='pytorch'`` selects a CUDA device and passes device ids to
    DDP, which fails without a GPU driver. MMEngine keeps a process group that already
    exists, so this function creates one with gloo and sets the model wrapper to use no
    device ids. With a GPU or without a launcher it does nothing.

    Args:
        cfg (Config): The config of the run, changed in place.

    Raises:
        ValueError: With a launcher other than ``pytorch``.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    if cfg.launcher != 'pytorch':
        raise ValueError(
            f"launcher='{cfg.launcher}' needs a GPU in every process and found none. "
            "On CPUs start the processes with torchrun and launcher='pytorch'."
        )
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
    )
