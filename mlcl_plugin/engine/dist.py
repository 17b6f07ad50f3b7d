# SPDX-License-Identifier: Apache-2.0
"""Several processes on a machine without a GPU."""

import torch
from mmengine.config import Config
from torch import distributed


def setup_cpu_distributed(cfg: Config) -> None:
    """Prepare a run of several processes where there is no GPU.

    MMEngine's ``launcher='pytorch'`` selects a CUDA device at its start and
    hands device ids to DDP, which fails without a driver. It leaves a process
    group alone that is already there, so the group is made here, with gloo, and
    the model wrapper is told to use no device ids. Nothing happens on a machine
    with a GPU or without a launcher.

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
            'On CPUs start the processes with torchrun (tools/dist_train.sh, '
            "launcher='pytorch')."
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
