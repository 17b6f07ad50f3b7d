# SPDX-License-Identifier: Apache-2.0
"""One of two gloo processes of test_non_finite_hook.py; the second has a nan loss."""

import sys

import torch
from mmengine.config import Config

from mlcl_plugin.engine import (
    CheckedRunner,
    base_config,
    set_default_dataloader_cfg,
    setup_cpu_distributed,
)
from mlcl_plugin.engine.hooks import NonFiniteHook


def main(rank, world_size, port, out, config, work_dir):
    cfg = base_config(Config.fromfile(config))
    cfg.launcher, cfg.work_dir = 'pytorch', work_dir
    set_default_dataloader_cfg(cfg)
    setup_cpu_distributed(cfg)
    runner = CheckedRunner.from_cfg(cfg)
    head = runner.model.module.head
    loss = head.loss

    def faulty_loss(*args, **kwargs):
        losses = loss(*args, **kwargs)
        if rank == '1' and runner.iter == 1:
            losses['loss_cls'] = losses['loss_cls'] * float('nan')
        return losses

    head.loss = faulty_loss
    error = None
    try:
        runner.train()
    except FloatingPointError as caught:
        error = str(caught)
    hook = next(hook for hook in runner.hooks if isinstance(hook, NonFiniteHook))
    parameters = {k: v.detach() for k, v in runner.model.module.named_parameters()}
    torch.save(dict(parameters=parameters, error=error, skips=hook.num_skips), out)


if __name__ == '__main__':
    main(*sys.argv[1:])
