# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_prototype_init_hook.py."""

import sys

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mlcl_plugin.engine import setup_cpu_distributed
from mlcl_plugin.engine.hooks import prototype_init_hook  # noqa: F401
from mlcl_plugin.models.losses import prototype_contrastive_loss  # noqa: F401
from mlcl_plugin.models.necks import ml_decoder  # noqa: F401


def main(rank, world_size, port, out, config):
    cfg = Config.fromfile(config)
    cfg.launcher = 'pytorch'
    setup_cpu_distributed(cfg)
    runner = Runner.from_cfg(cfg)
    assert is_model_wrapper(runner.model)
    head, states = runner.model.module.head, []

    def note(*args):
        states.append((head.prototypes.detach().clone(), head.memory.clone()))

    # Nothing projects embeddings before the first training batch does.
    head.projector.register_forward_pre_hook(note)
    runner.train()
    prototypes, memory = states[0]
    torch.save(dict(prototypes=prototypes, memory=memory, end=head.memory), out)


if __name__ == '__main__':
    main(*sys.argv[1:])
