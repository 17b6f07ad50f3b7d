# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_neighbour_filling.py."""

import os
import sys
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import distributed

from mlcl_plugin.engine import setup_cpu_distributed


def main(rank, world_size, port, out, config):
    os.environ.update(
        RANK=rank,
        LOCAL_RANK=rank,
        WORLD_SIZE=world_size,
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=port,
    )
    torch.set_num_threads(1)
    cfg = Config.fromfile(config)
    cfg.launcher = 'pytorch'
    setup_cpu_distributed(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    torch.save(runner.model.module.neighbours.state_dict(), out)


if __name__ == '__main__':
    # Formatting the config for every checkpoint takes longer than all the rest.
    with mock.patch(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    ):
        main(*sys.argv[1:])
    distributed.destroy_process_group()
