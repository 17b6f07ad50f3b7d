# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_neighbour_filling.py."""

import sys

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mlcl_plugin.engine import setup_cpu_distributed


def main(rank, world_size, port, out, config):
    cfg = Config.fromfile(config)
    cfg.launcher = 'pytorch'
    setup_cpu_distributed(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    torch.save(runner.model.module.neighbours.state_dict(), out)


if __name__ == '__main__':
    main(*sys.argv[1:])
