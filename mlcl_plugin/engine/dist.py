# SPDX-License-Identifier: Apache-2.0
"""Several processes of one run."""

from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed
from mmengine.utils.dl_utils import set_multi_processing
from torch import distributed


def init_distributed(cfg: Config) -> None:
    """Let the processes of a run meet before its runner is built.

    This does what MMEngine's runner would do. It keeps a process group that exists,
    and does nothing without a launcher.

    Args:
        cfg (Config): The config of the run.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or is_distributed():
        return
    env = cfg.get('env_cfg', {})
    set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
    init_dist(launcher, **env.get('dist_cfg', {}))


def setup_cpu_distributed(cfg: Config) -> None:
    """Prepare a run of several processes on a machine without a GPU.

    MMEngine's ``launcher='pytorch'`` selects a CUDA device and passes device ids to
    DDP, which fails without a GPU driver. MMEngine keeps a process group that already
    exists, so this function creates one with gloo and sets the model wrapper to use no
    device ids. With a GPU or without a launcher it does nothing. A process waits
    for another one ``env_cfg.dist_cfg.timeout`` seconds, as in MMEngine.

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
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        distributed.init_process_group(
            'gloo', timeout=None if timeout is None else timedelta(seconds=timeout)
        )
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
    )
