# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_mile_hook.py: train."""

import os
import sys

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mlcl_plugin.engine import set_default_dataloader_cfg, setup_cpu_distributed
from mlcl_plugin.engine.hooks.mile_hook import MILeHook


class Watch(Hook):
    """Keep what this process learns from, and what its teacher finds by hand."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.seen = dict(targets=[], expected=[], paths=[])

    @torch.no_grad()
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, MILeHook))
        if hook.teacher is None:
            return
        if hook.taken_at == runner.iter:
            for name, model in (
                ('teacher', hook.teacher),
                ('model', runner.model.module),
            ):
                self.seen[name] = {k: v.clone() for k, v in model.state_dict().items()}
        samples = data_batch['data_samples']
        self.seen['paths'] += [sample.img_path for sample in samples]
        self.seen['targets'].append(torch.stack([x.gt_score for x in samples]))
        images = (data_batch['inputs'].flip(1).float() - 127.5) / 64
        logits = hook.teacher.head(hook.teacher.extract_feat(images))
        self.seen['expected'].append((logits.sigmoid() > hook.thr).float())


def main(rank, world_size, port, out, config):
    cfg = Config.fromfile(config)
    cfg.pop('steps'), cfg.pop('runner_type')
    cfg.launcher = 'pytorch'
    cfg.work_dir = f'{os.path.dirname(out)}/work'
    set_default_dataloader_cfg(cfg)
    setup_cpu_distributed(cfg)
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    parameters = {k: v.detach() for k, v in runner.model.module.named_parameters()}
    torch.save(dict(watch.seen, parameters=parameters), out)


if __name__ == '__main__':
    main(*sys.argv[1:])
