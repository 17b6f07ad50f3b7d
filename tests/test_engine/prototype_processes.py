# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_prototype_init_hook.py."""

import os
import sys
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import distributed

from mlcl_plugin.engine import setup_cpu_distributed
from mlcl_plugin.engine.hooks import prototype_init_hook  # noqa: F401
from mlcl_plugin.models.losses import prototype_contrastive_loss  # noqa: F401
from mlcl_plugin.models.necks import ml_decoder  # noqa: F401


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
    # Formatting the config for every checkpoint takes longer than all the rest.
    with mock.patch(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    ):
        main(*sys.argv[1:])
    distributed.destroy_process_group()
