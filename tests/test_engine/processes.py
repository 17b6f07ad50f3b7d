# SPDX-License-Identifier: Apache-2.0
"""One of several gloo processes of test_dist.py: trains, resumes, tests."""

import importlib
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from torch import distributed

from mlcl_plugin.commands import make_parser
from mlcl_plugin.engine import setup_cpu_distributed


def build(command, *args):
    """Runner that a command builds from its arguments."""
    args = make_parser(command).read([*args, '--launcher', 'pytorch'])
    module = importlib.import_module(f'mlcl_plugin.commands.{command}')
    cfg = module.merge_args(Config.fromfile(args.config), args)
    setup_cpu_distributed(cfg)
    return RUNNERS.build(cfg)


def main(rank, world_size, port, out, config, work_dir):
    work_dir = Path(work_dir)
    train = ('train', config, '--work-dir', str(work_dir))
    build(*train).train()
    # as if the second step had been interrupted
    distributed.barrier()
    if rank == '0':
        (work_dir / 'step2/finished_checkpoint').unlink()
    distributed.barrier()
    epochs = 'steps.step2.train_cfg.max_epochs=2'
    model = build(*train, '--resume', '--cfg-options', epochs).train()
    checkpoint = str(work_dir / 'step2/epoch_2.pth')
    metrics = build('test', config, checkpoint, '--work-dir', str(work_dir)).test()
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    torch.save(dict(parameters=parameters, metrics=metrics), out)


if __name__ == '__main__':
    main(*sys.argv[1:])
