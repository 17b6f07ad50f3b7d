# SPDX-License-Identifier: Apache-2.0
"""What one of several processes does in test_processes.py; torchrun starts it."""

import os
import sys

import torch
from torch import distributed
from torch.utils._pytree import tree_map_only

from mlcl_plugin.models.utils.gather import RaggedGather
from tests.test_models.test_losses.processes import SPLITS, STEPS, make, make_loss, run


def main(out: str, kind: str) -> None:
    rank, world_size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    device = torch.device('cpu')
    if kind == 'cuda':
        device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(device)
    distributed.init_process_group('nccl' if kind == 'cuda' else 'gloo')
    results = {}
    for split in SPLITS:
        module = make_loss(0.2, with_memory=True).to(device)
        for step in range(STEPS):
            part = make(split, world_size, seed=step)[rank]
            part = tree_map_only(torch.Tensor, lambda x: x.to(device), part)
            results[split, step] = run(module, *part)
        results[split, 'memory'] = module.memory.read()
    rows = torch.full((rank + 1, 2), float(rank), device=device)
    gather = RaggedGather(len(rows), device)
    results['others'], results['all'] = gather(rows), gather.all(rows)
    assert results['all'].device == device
    results = tree_map_only(torch.Tensor, torch.Tensor.cpu, results)
    torch.save(results, f'{out}/{rank}.pt')
    distributed.destroy_process_group()


if __name__ == '__main__':
    main(*sys.argv[1:])
