# SPDX-License-Identifier: Apache-2.0
"""One of several gloo processes of test_batch_statistics.py: trains, stops, resumes."""

import contextlib
import copy
import sys

import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from torch import distributed

from mlcl_plugin.engine import (
    CheckedRunner,
    set_default_dataloader_cfg,
    setup_cpu_distributed,
)


def states(runner):
    """The model of a runner and its average."""
    (ema,) = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
    models = dict(model=runner.model.module, ema=ema.ema_model.module)
    return {name: copy.deepcopy(m.state_dict()) for name, m in models.items()}


class Stop(Exception):
    pass


class Watch(Hook):
    """Keep what this process validates, and stop after a number of iterations."""

    # After the EMA, before the checkpoint.
    priority = 'LOW'

    def __init__(self, stop_at):
        self.stop_at = stop_at
        self.validated, self.metrics, self.trained = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.stop_at:
            raise Stop
        self.trained.append(states(runner))

    def before_val_epoch(self, runner):
        self.validated.append(states(runner))

    def after_val_epoch(self, runner, metrics=None):
        self.metrics.append(metrics)


def train(cfg, work_dir, stop_at=None, resume=False):
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.resume = work_dir, resume
    runner = CheckedRunner.from_cfg(cfg)
    watch = Watch(stop_at)
    runner.register_hook(watch)
    with contextlib.suppress(Stop):
        runner.train()
    return dict(validated=watch.validated, metrics=watch.metrics, trained=watch.trained)


def main(rank, world_size, port, out, config, folder, stop_at):
    cfg = Config.fromfile(config)
    cfg.pop('steps'), cfg.pop('runner_type')
    cfg.launcher = 'pytorch'
    set_default_dataloader_cfg(cfg)
    setup_cpu_distributed(cfg)
    whole = train(cfg, f'{folder}/whole')
    train(cfg, f'{folder}/part', int(stop_at))
    distributed.barrier()
    part = train(cfg, f'{folder}/part', resume=True)
    torch.save(dict(whole=whole, part=part), out)


if __name__ == '__main__':
    main(*sys.argv[1:])
