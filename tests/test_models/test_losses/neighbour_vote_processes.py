# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_neighbour_vote_loss.py."""

import sys

import torch
import torch.nn.functional as F
from torch import distributed

from mlcl_plugin.models.losses import ContrastInputs, NeighbourVoteLoss, Projections

DIMS, NUM_LABELS, STEPS = 6, 4, 3
#: Images, of which two have another view, in each of two processes.
SPLITS = dict(even=(5, 5), ragged=(7, 2), empty_process=(0, 6), nothing=(0, 0))


def make(split, seed):
    """Embeddings, targets and image numbers of each process."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for number in SPLITS[split]:
        images = torch.cat([torch.arange(number), torch.arange(min(number, 2))])
        shape = (len(images), NUM_LABELS)
        grid = torch.randn(*shape, DIMS, generator=generator, dtype=torch.float64)
        targets = torch.randint(-1, 2, shape, generator=generator)[images]
        # Labels of which the first process has no pair.
        targets[:, 3] = len(parts)
        parts.append((F.normalize(grid, dim=-1), targets, images))
    return parts


def join(parts):
    """The batch of all processes as one."""
    offsets = [0, len(parts[0][0])]
    images = [part[2] + offset for part, offset in zip(parts, offsets)]
    return (*(torch.cat(x) for x in list(zip(*parts))[:2]), torch.cat(images))


def make_loss(with_memory):
    memory = dict(type='KnownLabelMemory', size=4, num_classes=4, embed_dims=DIMS)
    return NeighbourVoteLoss(0.3, 1.0, memory=memory if with_memory else None)


def run(loss_module, grid, targets, images):
    grid = grid.clone().requires_grad_()
    projections = Projections(None, lambda rows, labels: grid[rows, labels])
    inputs = ContrastInputs(targets, None, projections, images=images)
    loss = loss_module.contrast(inputs)
    loss.backward()
    grad = torch.zeros_like(grid) if grid.grad is None else grid.grad
    return dict(loss=loss.detach(), grad=grad)


def all_results(pick):
    """The results of all cases, for the part of each batch that ``pick`` gives."""
    results = {}
    for split in SPLITS:
        for with_memory in (False, True):
            module = make_loss(with_memory)
            for step in range(STEPS if with_memory else 1):
                part = pick(make(split, seed=step))
                results[split, with_memory, step] = run(module, *part)
            if with_memory:
                results[split, 'memory'] = module.memory.read()
    return results


def main(rank, world_size, port, out):
    distributed.init_process_group('gloo', rank=int(rank), world_size=int(world_size))
    torch.save(all_results(lambda parts: parts[int(rank)]), out)


if __name__ == '__main__':
    main(*sys.argv[1:])
