# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_image_level_across_processes.py."""

import sys

import torch
import torch.nn.functional as F
from torch import distributed

from mlcl_plugin.models.losses.image_embedding_memory import ImageEmbeddingMemory
from mlcl_plugin.models.losses.image_level_contrastive_loss import (
    ImageLevelContrastiveLoss,
)

DIMS, NUM_LABELS = 6, 5
#: Images in each process, for up to four of them; and options of their targets.
SPLITS = dict(
    even=([4, 4, 4, 4], {}),
    ragged=([7, 2, 5, 1], {}),
    empty_process=([0, 9, 3, 0], {}),
    nothing=([0, 0, 0, 0], {}),
    one_each=([1, 1, 1, 1], {}),
    unknown=([3, 5, 2, 4], dict(unknown=0.4)),
    one_knows_nothing=([3, 4, 2, 4], dict(unknown=0.1, lost=0)),
)
RULES = dict(
    any={},
    all={},
    jaccard={},
    threshold=dict(threshold=1, jaccard_weights=True),
    mulsupcon={},
    similarity_dissimilarity=dict(inside_log=True),
)
#: The batch alone; with a memory; keys in place of the batch, with a memory.
MODES = ('batch', 'memory', 'keys')
STEPS = 3


def make(split, world_size, seed):
    """Embeddings, targets and keys of each process."""
    sizes, options = SPLITS[split]
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for rank in range(world_size):
        x = torch.randn(2, sizes[rank], DIMS, generator=generator, dtype=torch.float64)
        draws = torch.rand(2, sizes[rank], NUM_LABELS, generator=generator)
        targets = (draws[0] < 0.4).double()
        targets[draws[1] < options.get('unknown', 0)] = -1
        if options.get('lost') == rank:
            targets.fill_(-1)
        z, keys = F.normalize(x, dim=2)
        parts.append((z, targets, keys))
    return parts


def join(parts):
    """The batch of all processes as one."""
    return tuple(map(torch.cat, zip(*parts)))


def run(rule, mode, parts_of_steps):
    memory = dict(
        type='ImageEmbeddingMemory', size=9, embed_dims=DIMS, num_classes=NUM_LABELS
    )
    module = ImageLevelContrastiveLoss(
        rule,
        0.2,
        loss_weight=0.7,
        base_temperature=0.1,
        in_batch=mode != 'keys',
        memory=None if mode == 'batch' else memory,
        **RULES[rule],
    )
    losses, grads = [], []
    for z, targets, keys in parts_of_steps:
        leaf = z.clone().requires_grad_()
        loss = module(leaf, targets, keys=keys if mode == 'keys' else None)
        loss.backward()
        losses.append(loss.detach())
        grads.append(leaf.grad)
    remembered = None if mode == 'batch' else module.memory.read()
    return dict(losses=losses, grads=grads, remembered=remembered)


def all_results(world_size, pick):
    """The results of all cases, for the part of each batch that ``pick`` gives."""
    return {
        (split, rule, mode): run(
            rule,
            mode,
            [pick(make(split, world_size, seed)) for seed in range(STEPS)],
        )
        for split in SPLITS
        for rule in RULES
        for mode in MODES
    }


def main(rank, world_size, port, out):
    distributed.init_process_group('gloo', rank=int(rank), world_size=int(world_size))
    results = all_results(int(world_size), lambda parts: parts[int(rank)])
    memory = ImageEmbeddingMemory(size=4, num_classes=1, embed_dims=1)
    memory.write(torch.tensor([[float(rank)]] * 2), torch.tensor([[1.0], [0.0]]))
    results['in_order'] = memory.read()
    torch.save(results, out)


if __name__ == '__main__':
    main(*sys.argv[1:])
